"""The commands of docs/datasets.md for images that are not 8-bit colour, on small synthetic images."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cli import ROOT, TINY, run
from doc_pages import Page, commands
from PIL import Image

from datasets.from_video import find_ffmpeg
from datasets.make_example import KINDS
from util.errors import UserError

PAGE = Page(ROOT / "docs" / "datasets.md")
SMALL = {
    "datasets/make_example.py": ("--count", "2", "--size", "40"),
    "data.check": (),
    "train.py": TINY,
    "test.py": ("--gpu_ids", "-1", "--num_threads", "0"),
    "evaluate.py": ("--gpu_ids", "-1", "--layer", "relu1_2", "--vgg_weights", "random", "--bootstrap", "0",
                    "--cache_dir", "none"),
}
"""Further arguments of the commands, so that they take a fraction of a second."""


def commands_of(kind: str) -> list[list[str]]:
    """Return the commands of the page that name a kind of images, without ``python``: those of its section, others."""
    found = [words[2 if words[1] == "-m" else 1:] for block in PAGE.blocks for _, words in commands(block)
             if kind in " ".join(words)]
    return sorted(found, key=lambda words: "--outputs" in words or words[0] == "data.check")


@pytest.mark.parametrize("kind", KINDS)
def test_the_commands_of_a_section_run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    programs = []
    for program, *arguments in commands_of(kind):
        outcome = run(program.replace("/", "."), *arguments, *SMALL[program])
        assert outcome.code == 0, outcome.err
        programs.append(program)
    assert programs[:4] == ["datasets/make_example.py", "train.py", "test.py", "evaluate.py"]
    results = tmp_path / "results" / kind / "test_latest"
    with Image.open(results / "images" / "real_A" / "0000.png") as shown, \
            Image.open(results / "images" / "fake_B" / "0000.png") as made:
        assert shown.mode == ("RGB" if kind == "multispectral2rgb" else "L")
        assert made.mode == ("L" if kind == "ct2mr" else "RGB")
        assert np.asarray(shown).std() > 15, "the range fits the values"
    if kind == "ct2mr":
        values = tifffile.imread(results / "outputs" / "fake_B" / "0000.tif")
        assert (values.dtype, values.shape) == (np.uint16, (40, 40))
        assert values.max() <= 4095


def test_the_commands_of_the_video_section_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        ffmpeg = find_ffmpeg()
    except UserError:
        pytest.skip("ffmpeg is not installed")
    monkeypatch.chdir(tmp_path)
    for name in ("day.mp4", "night.mp4", "drive.mp4"):
        subprocess.run([ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=48x40:rate=30:duration=1", "-f",
                        "lavfi", "-i", "sine=duration=1", name], check=True, timeout=60)
    small = SMALL | {"datasets/from_video.py": (), "datasets/to_video.py": ()}
    section = PAGE.path.read_text(encoding="utf-8").split("### Video\n")[1].split("\n## ")[0]
    found = [words[1:] for block in PAGE.blocks if block.text in section for _, words in commands(block)]
    assert len(found) == 6
    for program, *arguments in found:
        outcome = run(program.replace("/", "."), *arguments, *small[program])
        assert outcome.code == 0, outcome.err
    assert outcome.out == "translated.mp4: 30 frames at 30 a second, the sound of drive.mp4\n"


def test_examples_have_pairs_to_test_with_and_depend_on_the_seed(tmp_path: Path) -> None:
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert run("datasets.make_example", "ct2mr", "--out", tmp_path / out, "--count", "2", "--seed", seed).code == 0

    def image(path: str) -> np.ndarray:
        return tifffile.imread(tmp_path / path).astype(int)

    assert np.array_equal(image("a/trainA/0001.tif"), image("b/trainA/0001.tif"))
    assert not np.array_equal(image("a/trainA/0001.tif"), image("c/trainA/0001.tif"))
    for phase, alike in (("test", True), ("train", False)):
        air = image(f"a/{phase}A/0000.tif") < -900, abs(image(f"a/{phase}B/0000.tif") - 60) < 300
        assert bool(np.mean(air[0] & ~air[1]) < 0.01) is alike, "air is where air is, in pairs only"
