"""Run the programs as a user does: in this process, which is fast, or in a new one."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
from PIL import Image

from util.errors import run_program

ROOT = Path(__file__).resolve().parent.parent

# A run of a fraction of a second: 32-pixel crops, networks of a few channels, three of VGG16's layers.
TINY = (
    "--gpu_ids", "-1", "--seed", "1", "--num_threads", "0", "--load_size", "32", "--crop_size", "32", "--ngf", "2",
    "--ndf", "2", "--netG", "resnet_6blocks", "--attn_layers", "1,2", "--patch_nums", "16", "--patch_size", "4",
    "--vgg_weights", "random", "--no_html", "--max_iters", "2",
)
TINY_TEST = ("--gpu_ids", "-1", "--num_threads", "0", "--num_test", "1")


class Outcome(NamedTuple):
    """Exit code, output and errors of a program."""

    code: int
    out: str
    err: str


def run(program: str, *arguments: object) -> Outcome:
    """Run a program such as ``train.py`` in this process; errors that are no mistake of the user are raised."""
    main = importlib.import_module(program.removesuffix(".py")).main
    argv = [str(argument) for argument in arguments]
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.object(sys, "argv", [program, *argv]), contextlib.redirect_stdout(out), \
            contextlib.redirect_stderr(err):
        try:
            run_program(program, main)
        except SystemExit as end:
            return Outcome(int(end.code or 0), out.getvalue(), err.getvalue())


def run_process(*arguments: object, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> Outcome:
    """Run the interpreter with these arguments, and more variables of the environment, in a new process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    done = subprocess.run(
        [sys.executable, *(str(argument) for argument in arguments)], cwd=cwd, env=environment, capture_output=True,
        text=True, timeout=600, check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def locked_elsewhere(folder: Path) -> Iterator[None]:
    """Let another process write into a folder while the block runs."""
    code = "import sys, pathlib; from util.files import locked\n" \
           "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code, folder], cwd=ROOT, text=True, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield
        other.communicate()


def make_images(root: Path, *folders: str, size: int = 32, count: int = 2) -> Path:
    """Fill subfolders of ``root`` with small PNG files of noise; returns ``root``."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = np.random.default_rng([number, index]).integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{index}.png")
    return root
