"""The scripts of the paper's rows: every command that they run is one that the programs take."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from cli import ROOT

import evaluate
from data import DATASETS
from datasets.sources import SOURCES
from models import MODELS
from models.structure_flags import StructureFlags
from options import TEST, TRAIN, DataFlags, Options, RunFlags, parse

SCRIPTS = sorted({path.stem for path in (ROOT / "scripts/paper").glob("*.sh")} - {"common", "miniature"})
PROGRAMS = {"train.py": TRAIN, "test.py": TEST}


def run(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", ROOT / "scripts/paper" / f"{script}.sh", *arguments], capture_output=True, text=True,
                          timeout=60, check=False, env={**os.environ, **variables})


def commands(script: str, *arguments: str, **variables: str) -> dict[str, list[str]]:
    """Return program, or program and subcommand, and arguments of each command that a dry run shows."""
    done = run(script, "--dry-run", *arguments, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith("$ "):
            _, program, *rest = shlex.split(line[2:])
            found[f"{program} {rest[0]}" if program == "evaluate.py" else program] = rest
    return found


def options_of(program: str, arguments: list[str]) -> Options:
    """Return the options of a command line, whose data set need not be here."""
    place = arguments.index("--dataroot") + 1
    return parse(PROGRAMS[program], MODELS, DATASETS, [*arguments[:place], ".", *arguments[place + 1:]])


def test_every_row_has_its_script() -> None:
    assert SCRIPTS == ["apple2orange_fsesim", "apple2orange_lsesim", "horse2zebra_fsesim", "horse2zebra_lsesim",
                       "label2photo_fsesim", "label2photo_lsesim", "single_image", "summer2winter_multimodal"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_command_of_a_row_is_one_that_its_program_takes(script: str) -> None:
    found = commands(script, "--batch_size", "2")
    (tool,) = [program for program in found if program.startswith("datasets/")]
    assert (ROOT / tool).is_file()
    made = found[tool][0] if tool == "datasets/download.py" else Path(found[tool][-1]).name
    assert made in SOURCES or tool == "datasets/prepare_cityscapes.py"

    assert found["train.py"][:2] == ["--dataroot", f"datasets/{made}"]
    assert found["train.py"][:4] == found["test.py"][:4], "data set and name"
    training, testing = (options_of(program, found[program]) for program in ("train.py", "test.py"))
    assert training[DataFlags].batch_size == 2, "what is typed reaches train.py"
    assert training[RunFlags].seed == 1, "runs can be repeated"
    for group, name in ((RunFlags, "model"), (DataFlags, "direction")):
        assert getattr(training[group], name) == getattr(testing[group], name)
    assert testing[DataFlags].phase == ("train" if script == "single_image" else "test")
    if script.endswith("sesim"):
        structure, learned = training[StructureFlags], script.endswith("lsesim")
        assert (structure.learned_attn, structure.patch_size) == (learned, 32 if learned else 64)
        assert (structure.vgg_weights, structure.attn_layers) == ("imagenet", ("4", "7"))

    for command, arguments in found.items():
        if command.startswith("evaluate.py"):
            _, parsed = evaluate.parse(arguments)
            assert f"results/{testing[RunFlags].name}/" in str(getattr(parsed, "outputs", None) or parsed.images)
    assert ("evaluate.py metrics" in found) == (script != "single_image")


def test_the_single_image_goes_both_ways() -> None:
    found = commands("single_image", DIRECTION="BtoA")
    assert {options_of(program, found[program])[DataFlags].direction for program in PROGRAMS} == {"BtoA"}


def test_weights_from_elsewhere_reach_the_scores() -> None:
    found = commands("label2photo_lsesim", INCEPTION="my weights.pth", SEGMENTER="drn.pt2")
    assert "my weights.pth" in found["evaluate.py metrics"]
    assert "drn.pt2" in found["evaluate.py cityscapes"]
    found = commands("summer2winter_multimodal", INCEPTION="my weights.pth", LPIPS="alex.pth")
    assert "my weights.pth" in found["evaluate.py metrics"]
    assert "alex.pth" in found["evaluate.py diversity"]
