"""Random command lines: each is options or one sentence."""

from __future__ import annotations

import random
import shlex
from pathlib import Path

import pytest
from tiny import METHODS, NETWORKS, SIZES, save_folders

from data import DATASETS
from models import MODELS
from options import TEST, TRAIN, Options, Program, parse
from options.flag import Flag, flags_of, show
from util.errors import explain

NASTY = (
    "", " ", "-", "--", "---", "-1", "0", "1", "1.5", "-0.0", "1e9", "1e400", "-1e400", "nan", "inf", "-inf", "NaN",
    "9" * 30, "9" * 5000, "0x10", "1_000", "१", "½", "true", "no", "None", "none", "[]", "{}", "{name}", "{x}", "%s",
    "%", "a b", "a,b", ",", ",,", "4,7", "relu3_1", "a\nb", "\0", "\x1b[31m", "\udce4", "ä", "漢", "🙂", "../x", "/",
    "//", ".", "..", "~", "$HOME", "`ls`", ";ls", "con", "a" * 300, "sc", "cut", "test", "lsgan", "basic", "single",
    "aligned", "--name", "--model", "-h=", "@file", "\\", "'", '"',
)


def flags(program: Program) -> list[Flag]:
    groups = (*program.flags, *(group for owner in (*MODELS.values(), *DATASETS.values()) for group in owner.flags))
    return [flag for group in groups for flag in flags_of(group)]


def value(chance: random.Random, flag: Flag) -> str:
    """Draw a value that could be meant, sometimes anything."""
    kind = chance.random()
    if kind < 0.2:
        return chance.choice(NASTY)
    if kind < 0.25:
        return "".join(chr(chance.choice((chance.randrange(1, 128), chance.randrange(128, 0x3000))))
                       for _ in range(chance.randrange(12)))
    if flag.choices:
        return chance.choice(flag.choices)
    if flag.kind is bool:
        return chance.choice(("true", "false", "1", "off"))
    if flag.kind in (int, float):
        return chance.choice((str(chance.randrange(-2, 300)), f"{chance.gauss(0, 1):.3g}", show(flag.default)))
    return show(flag.default)


def command_line(chance: random.Random, program: Program, root: Path) -> list[str]:
    known = flags(program)
    words = ["--dataroot", str(root)] if chance.random() < 0.9 else []
    for flag in chance.sample(known, chance.randrange(1, 8)):
        text = value(chance, flag)
        words += chance.choice(([f"--{flag.name}", text], [f"--{flag.name}={text}"], [f"--{flag.name}"],
                                [f"-{flag.name}", text], [f"--{flag.name[:-1]}", text])
                               if chance.random() < 0.2 else ([f"--{flag.name}", text],))
    if chance.random() < 0.05:
        words.insert(chance.randrange(len(words) + 1), chance.choice(NASTY))
    return words


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_folders(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(("seed", "count"), [(0, 100), pytest.param(1, 2000, marks=pytest.mark.slow)])
def test_a_random_command_line_is_options_or_one_sentence(
    seed: int, count: int, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    chance = random.Random(seed)
    accepted = 0
    for _ in range(count):
        program = chance.choice((TRAIN, TEST))
        words = command_line(chance, program, root)
        try:
            outcome: Options | str = parse(program, MODELS, DATASETS, words)
        except Exception as error:
            outcome = explain(error) or ""  # as the programs do it
            if not outcome:
                pytest.fail(f"a traceback, {type(error).__name__}: {error}, from {shlex.join(words)}")
        if isinstance(outcome, Options):
            outcome.save(tmp_path / "saved", "opt")
            accepted += 1
        else:
            assert 10 < len(outcome) < 20_000, words
    assert accepted, "some are good"
    assert capsys.readouterr() == ("", "")
    assert {path.name for path in tmp_path.iterdir()} <= {"saved"}, "parsing writes nothing"


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_options_typed_out_in_full_are_the_same_options(method: str, root: Path) -> None:
    once = parse(TRAIN, MODELS, DATASETS, ["--dataroot", str(root), *shlex.split(f"{NETWORKS} {SIZES} {method}")])
    typed = [word for name, of in once.as_dict().items() if of is not None for word in (f"--{name}", show(of))]
    assert parse(TRAIN, MODELS, DATASETS, typed).as_dict() == once.as_dict()
