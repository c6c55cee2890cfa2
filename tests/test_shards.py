"""Data sets in tar files: the same images as in folders, and one sentence for what does not fit."""

from __future__ import annotations

import os
import pickle
import tarfile
from io import FileIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from cli import run
from image_bytes import png
from PIL import Image
from tiny import NoModel, save_folders, save_noise, train_options

from data import DATASETS, Loader
from data.check import main as check
from evaluation.feature_cache import FeatureCache
from options import TRAIN, DataFlags, parse
from train import train
from util import shards
from util.errors import UserError
from util.image_files import BadImage
from util.image_folders import count_pages, find_images, list_images
from util.images import image_size
from util.rasters import Raster, read_raster
from web.examples import copied

RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
KINDS = ("a.png", "b.jpg", "c.gif", "d.webp", "e.bmp", "f.tif", "g.tif", "h.tif", "i.npy", "j.npy", "k.npz", "l.ppm",
         "m.pfm", "n.png", "o.tga", "p.npy")


def save_kind(path: Path) -> None:
    """Save a file in the way of its name: one of each branch of the decoders."""
    match path.name[0]:
        case "f":
            tifffile.imwrite(path, DEEP, photometric="rgb")
        case "g":
            tifffile.imwrite(path, RANDOM.normal(size=(3, 5, 7, 2)).astype(np.float32), photometric="minisblack")
        case "h":
            Image.fromarray(COLOUR).save(path, save_all=True, append_images=[Image.fromarray(COLOUR[::-1])])
        case "i":
            np.save(path, DEEP)
        case "j":
            np.save(path, np.asfortranarray(DEEP))
        case "k":
            np.savez(path, image=DEEP)
        case "l":
            path.write_bytes(b"P6 7 5 65535\n" + DEEP.astype(">u2").tobytes())
        case "m":
            path.write_bytes(b"Pf\n7 5\n-1.0\n" + RANDOM.random((5, 7)).astype("<f4").tobytes())
        case "n":
            path.write_bytes(png(DEEP, 16, 2))
        case "p":
            path.write_bytes(b"no array")
        case _:
            exif = Image.Exif()
            exif[0x0112] = 6
            Image.fromarray(COLOUR).save(path, exif=exif)


def what(path: Path) -> object:
    """Return what a file holds, in a form that can be compared; of an unreadable one the sentence."""
    try:
        found = read_raster(path)
    except BadImage as error:
        return str(error).replace(str(path.parent), "")
    facts = (image_size(path), count_pages(path))
    if isinstance(found, Raster):
        return (found.kind, found.full, found.alpha, found.colour, found.values.tolist(), facts)
    return (found.mode, found.getexif().get(0x0112), np.asarray(found).tolist(), facts)


def pack(root: Path, *flags: object) -> Path:
    """Pack a data set, and return the packed one."""
    packed = root.parent / f"{root.name}_packed"
    outcome = run("datasets.make_shards", root, "--out", packed, *flags)
    assert outcome.code == 0, outcome.err
    return packed


def dataset(root: Path, flags: str = ""):
    options = parse(TRAIN, {"sc": NoModel}, DATASETS, [
        "--dataroot", str(root), "--load_size", "20", "--crop_size", "16", *flags.split()])
    return DATASETS[options[DataFlags].dataset_mode](options, training=True)


@pytest.fixture
def packed(root: Path) -> Path:
    return pack(root)


def test_every_kind_of_file_is_read_as_from_a_folder(tmp_path):
    folder = tmp_path / "set/trainA"
    folder.mkdir(parents=True)
    for name in KINDS:
        save_kind(folder / name)
    shards_folder = pack(tmp_path / "set") / "trainA"
    for name in KINDS:
        assert what(shards_folder / name) == what(folder / name), name
    pages = [[path.relative_to(place) for path in list_images(place, "", pages="all").images]
             for place in (folder, shards_folder)]
    assert pages[0] == pages[1]
    assert what(shards_folder / "h.tif/page_0002") == what(folder / "h.tif/page_0002")


def test_names_and_their_order_are_those_of_the_folder(tmp_path):
    folder = tmp_path / "set/trainA"
    names = ["b/2.png", "b.png", "B.png", "b/c/1.png", "\u00e4.png", "\U0001f600.png", "\ufb01.png", f"{'x' * 150}.png",
             os.fsdecode(b"\xff.png")]
    for name in names:
        save_noise(folder / name, 0)
    (folder / "note.txt").write_text("left out")
    (folder / ".hidden.png").write_text("left out")
    packed = pack(tmp_path / "set")
    loose, stored = (find_images(root / "trainA", "") for root in (folder.parent, packed))
    assert [path.relative_to(packed) for path in stored] == [path.relative_to(folder.parent) for path in loose]
    assert len(loose) == len(names)
    assert not list_images(packed / "trainA", "").left_out()
    assert find_images(packed / "trainA", "", 3) == stored[:3]
    for path in stored:
        assert image_size(path) == (20, 24)


def test_files_are_spread_over_tar_files_of_the_given_size(tmp_path):
    for number in range(5):
        (tmp_path / "set/trainA").mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / f"set/trainA/{number}.npy", np.full((600, 1000), number, dtype=np.uint8))
    packed = pack(tmp_path / "set", "--megabytes", "2")
    tars = sorted(packed.glob("*.tar"))
    assert [tar.name for tar in tars] == ["trainA-00000.tar", "trainA-00001.tar"]
    assert all(tar.stat().st_size <= 2_000_000 for tar in tars)
    assert [read_raster(path).values[0, 0, 0] for path in find_images(packed / "trainA", "")] == list(range(5))
    whole = pack(packed, "--megabytes", "4")  # packed again
    assert [tar.name for tar in whole.glob("*.tar")] == ["trainA-00000.tar"]
    assert shards.open_shards(whole / "trainA").names == shards.open_shards(packed / "trainA").names


def test_a_training_gives_the_same_bits_as_from_folders(root, packed):
    weights = []
    for place in (root, packed):
        train(train_options(place, "--name run --seed 1 --no_html --max_iters 3 --learned_attn --augment"))
        weights.append(torch.load(place / "checkpoints/run/latest_net_G.pth", weights_only=True))
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())


def test_worker_processes_load_the_same_batches_and_the_fingerprint_is_the_same(root, packed):
    loose, stored = dataset(root), dataset(packed)
    assert stored.fingerprint() == loose.fingerprint()
    batches = [list(Loader(data, batch_size=2, num_workers=workers, seed=3, shuffle=True).epoch(1))
               for data, workers in ((loose, 0), (stored, 2))]
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one["A"], other["A"])
        assert torch.equal(one["B"], other["B"])


def test_a_spawned_worker_reads_the_index_itself(packed, monkeypatch):
    data = pickle.dumps(dataset(packed))
    assert len(data) < 5000
    monkeypatch.setattr(shards, "_OPENED", {})
    loaded = pickle.loads(data)
    assert loaded.decode(0)[0].shape == (3, 20, 24)


def test_a_path_is_enough(packed, monkeypatch):
    path = find_images(packed / "trainB", "")[2]
    monkeypatch.setattr(shards, "_OPENED", {})
    assert image_size(path) == (20, 24)
    with pytest.raises(BadImage, match="there is no such file"):
        read_raster(packed / "trainB/none.png")


def test_pairs_and_single_folders_may_be_packed(tmp_path, root):
    pairs = tmp_path / "pairs"
    save_folders(pairs, counts=(3, 3))
    assert len(dataset(pack(pairs), "--dataset_mode aligned")) == 3
    wide = tmp_path / "wide"
    save_noise(wide / "train/1.png", 1)
    assert dataset(pack(wide), "--dataset_mode aligned").side_by_side
    assert len(dataset(pack(root) / "trainB", "--dataset_mode single")) == 5


def test_packed_images_are_copied_out_of_their_tar_file(tmp_path, packed, root):
    outcome = run("datasets.from_folder", "--a", packed / "trainA", "--out", tmp_path / "out", "--test", "0")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "out/trainA/1.png").read_bytes() == (root / "trainA/1.png").read_bytes()
    example = copied(packed / "trainA/2.png", tmp_path)
    assert example.read_bytes() == (root / "trainA/2.png").read_bytes()
    with pytest.raises(UserError, match="there is no such file"):
        copied(packed / "trainA/none.png", tmp_path)


def test_features_of_packed_images_are_those_of_the_images(tmp_path, packed, root):
    cache = FeatureCache(tmp_path, pytest.fail)
    in_folder, in_tar = (cache.file_of(find_images(place / "trainA", ""), {}) for place in (root, packed))
    assert in_folder == in_tar
    flip_a_byte(packed / "trainA-00000.tar", int(shards.open_shards(packed / "trainA").places[0, 1]))
    with pytest.raises(BadImage, match=r"its bytes in trainA-00000\.tar are not those of the index"):
        cache.file_of(find_images(packed / "trainA", ""), {})


def test_masks_may_be_packed(root, tmp_path):
    for number in range(3):
        save_noise(tmp_path / f"masks/trainA/{number}.png", number, mode="L")
    masks = pack(tmp_path / "masks")
    assert len(dataset(root, f"--mask_A {masks}").load(0)[1]) == 2
    assert run("data.check", root, "--mask_A", masks).code == 0


def test_data_check_sees_what_it_sees_in_folders(root, packed, capsys, monkeypatch):
    said = []
    for place in (root, packed):
        monkeypatch.setattr("sys.argv", ["data.check", str(place)])
        check()
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert "trainB: 5 images" in said[0]


def test_a_tar_file_of_other_programs_gets_an_index(tmp_path, root):
    with tarfile.open(tmp_path / "trainA.tar", "w") as tar:
        tar.add(root / "trainA", ".")
        tar.add(__file__, "./test.py")
    outcome = run("datasets.make_shards", tmp_path, "--index")
    assert outcome.out == "trainA: 3 images in 1 tar file, and 1 file of kinds that are not read\n"
    assert [path.name for path in find_images(tmp_path / "trainA", "")] == ["0.png", "1.png", "2.png"]
    assert what(tmp_path / "trainA/1.png") == what(root / "trainA/1.png")


def test_a_file_that_another_thread_drives_out_of_the_cache_stays_open(packed, monkeypatch):
    files = find_images(packed / "trainA", "")
    monkeypatch.setattr(shards, "_opened", FileIO)  # a cache that keeps nothing
    assert [image_size(file) for file in files] == [(20, 24)] * 3


def flip_a_byte(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_changed_bytes_make_an_unreadable_image(packed):
    found = shards.open_shards(packed / "trainA")
    tar = packed / "trainA-00000.tar"
    flip_a_byte(tar, int(found.places[1, 1]) + found.size(1) - 1)  # behind the pixels: the decoder would not notice
    with pytest.raises(BadImage, match=r"1\.png cannot be read as an image \(its bytes in trainA-00000\.tar are not"):
        read_raster(packed / "trainA/1.png")
    data = dataset(packed, "--max_bad_images 1")
    assert data.load(1)[0] == 2
    assert "1.png" in data.unreadable[1]


@pytest.mark.parametrize(("damage", "sentence"), [
    (lambda root: (root / "trainA.index").unlink(), r"trainA-00000\.tar has no index trainA\.index; write it with "),
    (lambda root: (root / "trainA.index").write_bytes(b"no index"), r"trainA\.index is damaged \(.*\); write it with "),
    (lambda root: np.save((root / "trainA.index").open("wb"), [1]), r"trainA\.index is damaged \(.*\); write it with "),
    (lambda root: flip_a_byte(root / "trainA.index", (root / "trainA.index").stat().st_size // 2), "is damaged"),
    (lambda root: (root / "trainA-00000.tar").unlink(), r"trainA-00000\.tar is missing, in the index \d+ bytes; "),
    (lambda root: os.truncate(root / "trainA-00000.tar", 5120), r"trainA-00000\.tar is 5120 bytes, in the index \d+ "),
    (lambda root: (root / "trainA-00001.tar").touch(), r"trainA-00001\.tar is 0 bytes, in the index no such file; "),
    (lambda root: (root / "trainA").mkdir(), r"trainA is a folder, and .*trainA\.index puts tar files in its place"),
])
def test_an_index_that_does_not_fit_is_refused_in_one_sentence(packed, damage, sentence):
    damage(packed)
    outcome = run("train", "--dataroot", packed, "--name", "x", "--checkpoints_dir", packed, "--gpu_ids", "-1")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    with pytest.raises(UserError, match=sentence):
        find_images(packed / "trainA", "")


def entry(**changes: object) -> shards.Entry:
    return shards.Entry("a.png", 0, 0, 1, 0)._replace(**changes)


@pytest.mark.parametrize(("entries", "reason"), [
    ([entry(name="../a.png")], "a name leads out of the folder"),
    ([entry(name="b/../a.png")], "a name leads out of the folder"),
    ([entry(name="/a.png")], "a name leads out of the folder"),
    ([entry(tar=1)], "a file ends behind its tar file"),
    ([entry(offset=100)], "a file ends behind its tar file"),
    ([entry(offset=-1)], "a file ends behind its tar file"),
    ([], "0 names of 0 files"),
])
def test_an_index_that_leads_elsewhere_is_refused(tmp_path, entries, reason):
    tar = tmp_path / "trainA.tar"
    tar.write_bytes(b"x")
    shards.save_index(tmp_path / "trainA", [tar], entries)
    with pytest.raises(UserError, match=f"damaged \\({reason}"):
        shards.open_shards(tmp_path / "trainA")


def linked(tar: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("a.png")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    tar.addfile(member)


def test_two_tar_files_with_files_of_one_name_are_refused(tmp_path, root):
    for number in range(2):
        with tarfile.open(tmp_path / f"trainA-{number}.tar", "w") as tar:
            tar.add(root / "trainA", ".")
    outcome = run("datasets.make_shards", tmp_path, "--index")
    assert outcome.code == 2
    assert f"trainA-0.tar and {tmp_path / 'trainA-1.tar'} both hold 0.png, and only one of the two" in outcome.err
    assert not (tmp_path / "trainA.index").exists()


@pytest.mark.parametrize("change", [
    lambda data, at: data[:at], lambda data, at: data[:at] + b"x" + data[at + 1:],
    lambda data, at: data[:at] + bytes(1024) + data[at + 1024:], lambda data, _: data + data],
    ids=["cut", "damaged", "blanked", "joined"])
def test_tar_files_whose_last_images_would_be_lost_are_refused(tmp_path, root, change):
    path = tmp_path / "trainA.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(root / "trainA", ".")
    with tarfile.open(path) as tar:
        second = tar.getmember("./1.png").offset
    path.write_bytes(change(path.read_bytes(), second))
    outcome = run("datasets.make_shards", tmp_path, "--index")
    assert outcome.code == 2
    assert "trainA.tar is no whole, uncompressed tar file (byte" in outcome.err
    assert not (tmp_path / "trainA.index").exists()


@pytest.mark.parametrize(("mode", "fill", "sentence"), [
    ("w", linked, "a.png is a link or no plain file"),
    ("w", lambda tar: tar.addfile(tarfile.TarInfo("../a.png")), "../a.png leads out of the folder"),
    ("w", lambda tar: tar.addfile(tarfile.TarInfo("a.txt")), "holds no images"),
    ("w:gz", lambda tar: tar.addfile(tarfile.TarInfo("a.png")), "is no whole, uncompressed tar file"),
])
def test_tar_files_that_cannot_be_indexed_are_refused(tmp_path, mode, fill, sentence):
    with tarfile.open(tmp_path / "trainA.tar", mode) as tar:
        fill(tar)
    outcome = run("datasets.make_shards", tmp_path, "--index")
    assert outcome.code == 2
    assert sentence in outcome.err


@pytest.mark.parametrize(("flags", "sentence"), [
    (["none", "--index"], "there is no folder none"),
    ([".", "--index"], "there are no tar files"),
    (["."], "give either --out"),
    ([".", "--index", "--out", "x"], "give either --out"),
])
def test_wrong_commands_are_refused(tmp_path, monkeypatch, flags, sentence):
    monkeypatch.chdir(tmp_path)
    outcome = run("datasets.make_shards", *flags)
    assert outcome.code == 2
    assert sentence in outcome.err


def test_a_broken_link_stops_the_packing_and_leaves_nothing(tmp_path, root):
    (root / "trainA/broken.png").symlink_to("nowhere.png")
    outcome = run("datasets.make_shards", root, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert "broken.png" in outcome.err
    assert not (tmp_path / "out").exists()
