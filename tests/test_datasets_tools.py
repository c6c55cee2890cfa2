"""The tools that make data sets of folders, pairs, Cityscapes and videos: what they write, and what they refuse."""

from __future__ import annotations

import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cli import ROOT, Outcome, make_images, run, run_process
from PIL import Image
from tiny import save_noise

from datasets.building import split, whole_folder
from datasets.from_video import find_ffmpeg, read_ppm
from datasets.to_video import exact_rate, probe, shown_frames
from util.errors import UserError

TOOLS = ("download", "from_folder", "from_video", "make_aligned", "make_example", "make_shards", "prepare_cityscapes",
         "to_video")


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_tools_run_as_files_from_anywhere(tmp_path: Path) -> None:
    outcome = run_process(ROOT / "datasets" / "make_aligned.py", "--help", cwd=tmp_path)  # it imports the most
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("usage: make_aligned.py ")
    for tool in TOOLS:  # the others find the clone in the same way: a process for each costs seconds
        text = (ROOT / "datasets" / f"{tool}.py").read_text(encoding="utf-8")
        before, _, after = text.partition("sys.path.insert(0, str(Path(__file__).resolve().parent.parent))")
        assert "import" in after, tool
        assert "from util" not in before, tool


# --- folders


def from_folder(out: Path, *flags: object) -> Outcome:
    return run("datasets.from_folder", "--out", out, *flags)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_images(tmp_path / "photos", ".", "more", size=12, count=5)


def test_two_folders_become_a_set(tmp_path: Path, photos: Path) -> None:
    make_images(tmp_path / "paintings", ".", size=10, count=4)
    outcome = from_folder(tmp_path / "mine", "--a", photos, "--b", tmp_path / "paintings", "--test", "0.25")
    assert (outcome.code, outcome.err) == (0, "")
    assert "trainA: 8 images\ntestA: 2 images\ntrainB: 3 images\ntestB: 1 image\n" in outcome.out
    both = names(tmp_path / "mine" / "trainA") + names(tmp_path / "mine" / "testA")
    assert sorted(both) == names(photos), "every image is in one of the two"
    assert run("data.check", tmp_path / "mine").code == 0


def test_the_seed_draws_the_test_images(tmp_path: Path, photos: Path) -> None:
    for number, seed in enumerate((1, 1, 2)):
        from_folder(tmp_path / str(number), "--a", photos, "--seed", seed, "--test", "0.4")
    first, again, other = (names(tmp_path / str(number) / "testA") for number in range(3))
    assert first == again != other


def test_images_of_their_own_size_take_no_space(tmp_path: Path, photos: Path) -> None:
    from_folder(tmp_path / "mine", "--a", photos, "--test", "0")
    assert (tmp_path / "mine/trainA/more/1.png").samefile(photos / "more" / "1.png")
    assert not (tmp_path / "mine/testA").exists()


def test_images_are_copied_where_links_are_refused(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    assert from_folder(tmp_path / "mine", "--a", photos, "--test", "0").code == 0
    assert (tmp_path / "mine/trainA/1.png").read_bytes() == (photos / "1.png").read_bytes()
    assert not (tmp_path / "mine/trainA/1.png").samefile(photos / "1.png")


def test_scaled_images_of_one_stem_stay_apart(tmp_path: Path) -> None:
    for seed, name in enumerate(("1.jpg", "1.png", "2.jpg")):
        save_noise(tmp_path / "photos" / name, seed)
    from_folder(tmp_path / "mine", "--a", tmp_path / "photos", "--size", "16x8", "--test", "0")
    assert names(tmp_path / "mine" / "trainA") == ["1.jpg.png", "1.png.png", "2.png"]
    with Image.open(tmp_path / "mine/trainA/2.png") as image:
        assert (image.size, image.mode) == ((16, 8), "RGB")


def test_unreadable_images_are_named_and_left_out(tmp_path: Path, photos: Path) -> None:
    (photos / "0.png").write_bytes(b"no image")
    outcome = from_folder(tmp_path / "mine", "--a", photos, "--size", "8", "--test", "0")
    assert outcome.code == 0
    assert f"{photos / '0.png'}" in outcome.err
    assert "left out" in outcome.err
    assert "trainA: 9 images" in outcome.out


@pytest.mark.parametrize(("flags", "said"), [
    (["--a", "nowhere"], "--a: there is no folder nowhere"),
    (["--a", "{photos}", "--b", "nowhere"], "--b: there is no folder nowhere"),
    (["--a", "{bad}", "--size", "8", "--test", "0"], "--a: none of the images in {bad} can be read"),
    (["--a", "{photos}", "--test", "1"], "1 is too large: the greatest value is 0.9999"),
    (["--a", "{photos}", "--size", "8x8x8"], "'8x8x8' is no size such as 256 or 512x256"),
])
def test_what_cannot_be_made_leaves_nothing(tmp_path: Path, photos: Path, flags: list[str], said: str) -> None:
    places = {"photos": photos, "bad": tmp_path / "bad"}
    places["bad"].mkdir()
    (places["bad"] / "1.png").write_bytes(b"no image")
    before = set(tmp_path.rglob("*"))
    outcome = from_folder(tmp_path / "mine", *(flag.format(**places) for flag in flags))
    assert outcome.code == 2
    assert said.format(**places) in outcome.err
    assert set(tmp_path.rglob("*")) == before


def test_a_set_that_exists_is_left_alone(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "mine").mkdir()
    outcome = from_folder(tmp_path / "mine", "--a", photos)
    assert outcome.code == 2
    assert "exists already; remove it or choose another --out" in outcome.err


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "set") as folder:
        fail(folder)
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path / "deep" / "set") as folder:
        (folder / "whole").touch()
    assert names(tmp_path) == ["deep/set/whole"]


@pytest.mark.parametrize(("count", "share", "test"), [(10, 0.1, 1), (10, 0, 0), (3, 0.1, 1), (1, 0.5, 0), (2, 0.9, 1)])
def test_a_split_leaves_something_for_both(count: int, share: float, test: int) -> None:
    training, testing = split(range(count), share, 0)
    assert (len(training), len(testing)) == (count - test, test)
    assert sorted(training + testing) == list(range(count))


# --- pairs


def test_partners_are_put_side_by_side_and_training_reads_them(tmp_path: Path) -> None:
    left = Image.new("RGB", (6, 4), "red")
    for name in ("1", "2"):
        save_noise(tmp_path / "b" / f"{name}.png", seed=3, size=(6, 4))
        (tmp_path / "a").mkdir(exist_ok=True)
        left.save(tmp_path / "a" / f"{name}.bmp")
    outcome = run("datasets.make_aligned", "--a", tmp_path / "a", "--b", tmp_path / "b", "--out", tmp_path / "pairs",
                  "--test", "0.5")
    assert (outcome.code, outcome.err) == (0, "")
    assert "1 pair in train, 1 in test" in outcome.out
    (path,) = (tmp_path / "pairs" / "train").iterdir()
    with Image.open(path) as both, Image.open(tmp_path / "b" / path.name) as right:
        assert both.size == (12, 4)
        assert both.getpixel((5, 3)) == (255, 0, 0)
        assert both.crop((6, 0, 12, 4)).tobytes() == right.tobytes()


@pytest.mark.parametrize(("fault", "said"), [
    ("no partner", "--a and --b: 1 image without a partner of the same name in"),
    ("sizes", "a pair must have one size, but"),
    ("unreadable", "1.png"),
])
def test_pairs_that_do_not_fit_are_refused(tmp_path: Path, fault: str, said: str) -> None:
    make_images(tmp_path, "a", "b", size=8)
    if fault == "no partner":
        (tmp_path / "b" / "1.png").unlink()
    elif fault == "sizes":
        save_noise(tmp_path / "b" / "1.png", 0, (9, 8))
    else:
        (tmp_path / "b" / "1.png").write_bytes(b"no image")
    outcome = run("datasets.make_aligned", "--a", tmp_path / "a", "--b", tmp_path / "b", "--out", tmp_path / "pairs")
    assert outcome.code == 2
    assert said in outcome.err
    assert not (tmp_path / "pairs").exists()


# --- Cityscapes


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    """A training and two validation frames; the label map has two classes, with a border between two pixels."""
    labels = np.zeros((16, 32, 4), np.uint8)
    labels[..., 3], labels[:, :15, :3], labels[:, 15:, :3] = 255, (128, 64, 128), (70, 130, 180)
    for part, frame in (("train", "aachen_0"), ("val", "bonn_0"), ("val", "bonn_1"), ("test", "berlin_0")):
        city = f"{part}/{frame.split('_')[0]}"
        save_noise(tmp_path / "leftImg8bit" / city / f"{frame}_leftImg8bit.png", 1, (32, 16))
        (tmp_path / "gtFine" / city).mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(tmp_path / "gtFine" / city / f"{frame}_gtFine_color.png")
        Image.fromarray(labels[..., 0]).save(tmp_path / "gtFine" / city / f"{frame}_gtFine_labelIds.png")
    return tmp_path


def prepare(root: Path, *flags: object) -> Outcome:
    return run("datasets.prepare_cityscapes", "--gtFine_dir", root / "gtFine", "--leftImg8bit_dir",
               root / "leftImg8bit", "--out", root / "out", *flags)


def test_cityscapes_becomes_photographs_and_label_maps(cityscapes: Path) -> None:
    outcome = prepare(cityscapes)
    assert (outcome.code, outcome.err) == (0, "")
    assert names(cityscapes / "out") == [
        "testA/bonn_0.png", "testA/bonn_1.png", "testB/bonn_0.png", "testB/bonn_1.png", "trainA/aachen_0.png",
        "trainB/aachen_0.png"]
    with Image.open(cityscapes / "out/trainA/aachen_0.png") as photo:
        assert photo.size == (256, 256)


@pytest.mark.parametrize(("name", "classes"), [("nearest", 2), ("bicubic", 3)])
def test_label_maps_keep_the_classes_colours_unless_asked_otherwise(
    cityscapes: Path, name: str, classes: int,
) -> None:
    prepare(cityscapes, "--size", "12x8", "--label_filter", name)
    with Image.open(cityscapes / "out/trainB/aachen_0.png") as label:
        assert label.size == (12, 8)
        colours = {colour for _, colour in label.getcolors() or []}
    assert len(colours) >= classes
    assert (colours == {(128, 64, 128), (70, 130, 180)}) == (name == "nearest")


@pytest.mark.parametrize(("lost", "said"), [
    ("gtFine", "there is no folder"),
    ("gtFine/val/bonn", "no city in"),
    ("gtFine/val/bonn/bonn_1_gtFine_color.png", "1 frame of"),
    ("leftImg8bit/val/bonn/bonn_0_leftImg8bit.png", "such as bonn_0"),
])
def test_an_incomplete_cityscapes_is_refused(cityscapes: Path, lost: str, said: str) -> None:
    path = cityscapes / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    outcome = prepare(cityscapes)
    assert outcome.code == 2
    assert said in outcome.err
    assert not (cityscapes / "out").exists()


# --- videos

try:
    FFMPEG = find_ffmpeg()
except UserError:
    FFMPEG = ""
needs_ffmpeg = pytest.mark.skipif(not FFMPEG, reason="ffmpeg is not installed")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """40 frames at 10 a second: grey levels 0, 6, 12 and so on, but the second half stands still."""
    frames = b"".join(np.full((16, 24, 3), 6 * min(number, 20), np.uint8).tobytes() for number in range(40))
    path = tmp_path / "a'%d b.mkv"
    subprocess.run([FFMPEG, "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "24x16", "-r", "10", "-i",
                    "-", "-c:v", "ffv1", f"file:{path}"], input=frames, check=True, timeout=60)
    return path


def levels(folder: Path) -> dict[int, int]:
    """Return frame number and grey level of every frame in a folder."""
    found = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as image:
            found[int(path.stem.rpartition("_")[2])] = int(np.asarray(image).mean().round())
    return found


@needs_ffmpeg
def test_every_nth_frame_is_taken_while_something_changes(tmp_path: Path, video: Path) -> None:
    outcome = run("datasets.from_video", video, "--out", tmp_path / "frames", "--every", "4", "--differ", "20")
    assert (outcome.code, outcome.err) == (0, "")
    assert "6 of 10 frames taken, every 4 of the video" in outcome.out
    found = levels(tmp_path / "frames")
    assert list(found) == [0, 4, 8, 12, 16, 20]
    assert all(abs(level - 6 * number) <= 2 for number, level in found.items()), found


@needs_ffmpeg
def test_a_part_of_a_video_is_scaled(tmp_path: Path, video: Path) -> None:
    run("datasets.from_video", video, "--out", tmp_path / "frames", "--every", "1", "--differ", "0", "--start", "1",
        "--end", "2", "--size", "8x6")
    found = levels(tmp_path / "frames")
    assert len(found) == 10
    assert abs(found[0] - 60) <= 2
    with Image.open(next((tmp_path / "frames").iterdir())) as frame:
        assert frame.size == (8, 6)


@needs_ffmpeg
@pytest.mark.parametrize(("content", "flags", "said"), [
    (None, [], "there is no file"),
    (b"no video", [], "ffmpeg cannot read this video"),
    (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n", [], "ffmpeg cannot read this video"),
    ("video", ["--start", "100"], "has no frames between --start and --end"),
])
def test_what_is_no_video_is_one_sentence(
    tmp_path: Path, video: Path, content: bytes | str | None, flags: list[str], said: str,
) -> None:
    path = video
    if content != "video":
        path = tmp_path / "film.mp4"
        if isinstance(content, bytes):
            path.write_bytes(content)
    outcome = run("datasets.from_video", path, "--out", tmp_path / "frames", *flags)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "frames").exists()


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A second at 30000/1001 frames a second, with a tone from half a second on."""
    path = tmp_path / "film.mkv"
    subprocess.run([FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=22x16:rate=30000/1001:duration=1",
                    "-f", "lavfi", "-i", "sine=frequency=440:duration=1,volume=0:enable='lt(t,0.5)'", "-c:v", "ffv1",
                    "-c:a", "pcm_s16le", f"file:{path}"], check=True, timeout=60)
    return path


def raw(path: Path, kind: str, *flags: str) -> np.ndarray:
    """Return frames [N, H, W, 3] or samples [N] of a video."""
    made = subprocess.run([FFMPEG, "-v", "error", "-i", f"file:{path}", *flags, "-"], check=True, timeout=60,
                          capture_output=True).stdout
    return np.frombuffer(made, np.uint8 if kind == "v" else np.int16)


@needs_ffmpeg
def test_frames_become_a_video_of_the_sources_rate_and_sound(tmp_path: Path, film: Path) -> None:
    run("datasets.from_video", film, "--out", tmp_path / "frames", "--every", "1", "--differ", "0")
    outcome = run("datasets.to_video", tmp_path / "frames", "--like", film, "--out", tmp_path / "new" / "film.mkv")
    assert (outcome.code, outcome.err) == (0, "")
    assert "30 frames at 29.97 a second, the sound of" in outcome.out
    made = tmp_path / "new" / "film.mkv"
    assert [path.name for path in made.parent.iterdir()] == ["film.mkv"]
    source = probe(FFMPEG, made)
    assert (source.rate, source.has_sound) == (Fraction(30000, 1001), True)
    frames = raw(made, "v", "-f", "rawvideo", "-pix_fmt", "rgb24").reshape(-1, 16, 22, 3)
    assert len(frames) == 30
    with Image.open(tmp_path / "frames" / "film_000015.png") as frame:
        expected = np.asarray(frame).astype(int)
    errors = [np.abs(frame - expected).mean() for frame in frames]
    assert errors.index(min(errors)) == 15, "the codec changes colours, but not the order"
    samples, original = (raw(path, "a", "-f", "s16le", "-ac", "1").astype(int) for path in (made, film))
    count = min(len(samples), len(original))
    assert count > 43000
    assert np.array_equal(samples[:count], original[:count])


@needs_ffmpeg
def test_a_part_of_the_frames_keeps_the_time(tmp_path: Path, film: Path) -> None:
    run("datasets.from_video", film, "--out", tmp_path / "frames", "--every", "3", "--differ", "0", "--start", "0.5",
        "--size", "11x7")
    (tmp_path / "frames" / "film_000003.png").unlink()  # as --differ leaves frames out: the one before stays
    outcome = run("datasets.to_video", tmp_path / "frames", "--like", film, "--out", tmp_path / "b.mp4", "--start",
                  "0.5")
    assert (outcome.code, outcome.err) == (0, "")
    assert "5 frames at 9.99 a second" in outcome.out
    assert raw(tmp_path / "b.mp4", "v", "-f", "rawvideo", "-pix_fmt", "rgb24").size == 5 * 8 * 12 * 3  # even sides
    assert np.abs(raw(tmp_path / "b.mp4", "a", "-f", "s16le", "-ac", "1")[4000:12000].astype(int)).max() > 1000


def test_frames_are_shown_until_the_next_begins() -> None:
    paths = [Path(f"a_{number}.png") for number in (10, 2, 4)]
    assert shown_frames(paths) == ([paths[1], paths[2], paths[2], paths[2], paths[0]], 2)
    assert shown_frames([Path("x.png"), Path("y.png")]) == ([Path("x.png"), Path("y.png")], 1)
    assert [exact_rate(rate) for rate in (23.98, 59.94, 25.0, 12.5)] == [
        Fraction(24000, 1001), Fraction(60000, 1001), Fraction(25), Fraction(25, 2)]


@needs_ffmpeg
@pytest.mark.parametrize(("like", "out", "said"), [
    ("nothing.mp4", "b.mkv", "--like: there is no file"),
    ("frames/0.png", "film.mkv", "film.mkv exists already"),
    ("text.mp4", "b.mkv", "ffmpeg cannot read this video"),
    ("film.mkv", "b.unknown", "--out: ffmpeg cannot write this kind of video"),
    ("film.mkv", "b.mkv", "1.png has 3x2 pixels, but the first frame 4x4"),
])
def test_frames_that_make_no_video_are_one_sentence(
    tmp_path: Path, film: Path, like: str, out: str, said: str
) -> None:
    (tmp_path / "frames").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "frames" / "0.png")
    Image.new("RGB", (3, 2) if "frame 4x4" in said else (4, 4)).save(tmp_path / "frames" / "1.png")
    (tmp_path / "text.mp4").write_text("no video")
    outcome = run("datasets.to_video", tmp_path / "frames", "--like", tmp_path / like, "--out", tmp_path / out)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mkv", "frames", "text.mp4"]


def test_ffmpeg_comes_from_the_path_or_from_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert find_ffmpeg() == "/bin/ffmpeg"
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", SimpleNamespace(get_ffmpeg_exe=lambda: "/package/ffmpeg"))
    assert find_ffmpeg() == "/package/ffmpeg"
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match="pip install imageio-ffmpeg"):
        find_ffmpeg()


def test_a_frame_that_breaks_off_is_none(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(b"P6\n2 1\n255\nabcdef" + b"P6\n2 1\n255\nabc")
    with path.open("rb") as stream:
        assert read_ppm(stream) is not None
        assert read_ppm(stream) is None
