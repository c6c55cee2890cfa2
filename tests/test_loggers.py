"""--loggers: which ones run; none of them can end or change a training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from browser import look
from states import content, differing
from tiny import METHODS, NETWORKS, SIZES, save_folders, train_options
from torch import Tensor

from models.structure import Structure
from options import DisplayFlags
from train import train
from training import job as program
from training.samples import FixedSamples
from training.vitals import Vitals
from util.errors import UserError
from util.loggers import Sink, curves
from util.loggers.html_page import HtmlSink
from util.loggers.json_lines import JsonLinesSink
from util.loggers.registry import open_loggers
from util.loggers.sink import Guarded, LoggedRun, chart_of, group_of, short

PAGE = "--no_html false"


def chosen(root: Path, flags: str) -> tuple[str, ...]:
    return train_options(root, f"{PAGE} {flags}")[DisplayFlags].chosen()


def watched(root: Path, flags: str = "", *, seen: int = 0) -> LoggedRun:
    return LoggedRun(root / "run", "name", 10, seen, train_options(root, flags).as_dict())


def test_flags_choose_loggers(root: Path) -> None:
    for flags, names in {
        "": "terminal json html", "--no_html": "terminal json", "--display_id 0": "terminal json html",
        "--display_id 2 --no_html": "terminal json visdom", "--loggers json,tensorboard": "json tensorboard",
        "--loggers visdom --display_id 2": "visdom", "--loggers html,wandb --no_html": "wandb",
    }.items():
        assert list(chosen(root, flags)) == names.split(), flags
    with pytest.raises(UserError, match=r"--loggers.*'screen'.*terminal, json, html, visdom, tensorboard, wandb"):
        chosen(root, "--loggers json,screen")


def test_values_have_groups_and_charts_by_their_names() -> None:
    names = ("G", "lr/G", "data_wait", "eval_frechet", "metrics/FID")
    assert [group_of(name) for name in names] == ["losses", "lr", "speed", "scores", "metrics"]
    assert [chart_of(name) for name in names] == ["losses", "lr", "data_wait", "eval_frechet", "metrics/FID"]
    assert [short(name) for name in ("G", "gradient/D_A")] == ["G", "D_A"]


class Failing(Sink):
    """Fails as long as it is told to."""

    def __init__(self, tries_again: bool) -> None:
        self.tries_again, self.broken, self.calls = tries_again, True, 0

    def scalars(self, step: int, values: Any) -> None:
        self.calls += 1
        if self.broken:
            raise RuntimeError("gone\nfor good")

    def close(self) -> None:
        self.calls += 100


@pytest.mark.parametrize(("tries_again", "calls"), [(False, 1), (True, 3)])
def test_a_logger_that_fails_is_told_once_and_closed_all_the_same(tries_again: bool, calls: int) -> None:
    warnings: list[str] = []
    sink = Failing(tries_again)
    guarded = Guarded(sink, "somewhere", warnings.append)
    for step in range(3):
        guarded.scalars(step, {"G": 1.0})
    guarded.close()
    assert warnings == ["the logger somewhere has failed (gone for good); the training continues without it"]
    assert sink.calls == calls + 100
    assert JsonLinesSink.tries_again
    assert HtmlSink.tries_again


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "visdom"])
def test_without_its_package_a_logger_is_left_out_with_a_warning(
    root: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [of for of in sys.modules if of.split(".")[0] == name or "torch.utils.tensorb" in of]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    sinks = open_loggers([name], watched(root), [])
    assert [type(sink).__name__ for sink in sinks] == ["MessageSink"]
    way = {"visdom": "docs/troubleshooting.md says how"}.get(name, f"pip install {name}")
    assert capsys.readouterr().out == (
        f"warning: the logger {name} cannot run: the package {name} is not installed ({way}); the training continues "
        "without it\n")


def test_a_logger_that_cannot_write_is_left_out_with_a_warning(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "run").write_text("a file where the folder should be")
    names = ["json", "html", "tensorboard"]
    assert len(open_loggers(names, watched(root), [])) == 1
    warnings = capsys.readouterr().out.splitlines()
    assert [text.split(":")[1] for text in warnings] == [f" the logger {name} cannot run" for name in names]


def test_without_the_terminal_only_messages_are_printed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sinks = open_loggers(["json"], watched(root), ["hello"])
    for sink in sinks:
        sink.scalars(1, {"G": 1.0})
        sink.message("warning: look")
        sink.close()
    assert capsys.readouterr().out == "hello\nwarning: look\n"


# --- the training


def test_weights_are_the_same_to_the_bit_whichever_loggers_run(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("wandb")

    for name, flags in {
        "quiet": "--loggers terminal",
        "loud": "--loggers terminal,json,html,tensorboard,wandb --wandb_mode offline --print_freq 1 --display_freq 1 "
                "--update_html_freq 1",
    }.items():
        seeded = f"--seed 3 --max_iters 7 --pool_size 2 --no_dropout false --norm batch --name {name} {PAGE} {flags}"
        train(train_options(root, seeded, defaults=(NETWORKS, METHODS["LSeSim"], SIZES)))
    assert "warning" not in capsys.readouterr().out
    assert not (root / "checkpoints" / "quiet" / "loss_log.jsonl").exists()
    differ = differing(content(root / "checkpoints" / "quiet"), content(root / "checkpoints" / "loud"))
    assert [key for key in differ if "losses" not in key] == []


def test_steps_that_are_not_reported_are_not_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, drawn = [], []
    vitals, draw = Vitals.read, FixedSamples.draw
    monkeypatch.setattr(Vitals, "read", lambda self, images: read.append(images) or vitals(self, images))
    monkeypatch.setattr(FixedSamples, "draw", lambda self: drawn.append(1) or draw(self))
    monkeypatch.setattr(curves, "draw", lambda chart, of: "")
    train(train_options(root, f"{PAGE} --max_iters 8 --print_freq 4 --display_freq 4 --loggers json,html"))
    assert (read, len(drawn)) == ([4, 8], 3)  # the first before the training
    train(train_options(root, "--max_iters 8 --display_freq 4 --loggers json"))
    assert len(drawn) == 3, "no logger takes images"


def test_a_resumed_page_shows_the_curves_of_the_whole_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    pages: list[list[str]] = []
    run = f"{PAGE} --seed 3 --print_freq 1 --display_freq 4 --update_html_freq 4"
    page = root / "checkpoints" / "experiment_name" / "web" / "index.html"
    monkeypatch.setattr(curves, "draw", lambda chart, of: pages.append(
        [chart, *(f"{name} {[x for x, _ in points]}" for name, points in of.items())]) or "")
    train(train_options(root, f"{run} --max_iters 4"))
    train(train_options(root, f"{run} --max_iters 6 --continue_train"))
    losses = [chart for chart in pages if chart[0] == "losses"][-1]
    assert "G [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]" in losses
    assert {chart[0] for chart in pages} >= {"losses", "gradient", "lr", "speed/images_per_second", "data_wait"}
    monkeypatch.undo()
    train(train_options(root, f"{run} --max_iters 7 --continue_train"))
    assert look(page, width=400) == {}
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") >= 5
    assert "http://" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", "")
    assert 'http-equiv="refresh"' not in text
    assert 'role="status">finished' in text


def test_the_terminal_names_the_page_which_says_how_the_training_ended(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = root / "checkpoints" / "experiment_name" / "web" / "index.html"
    train(train_options(root, f"{PAGE} --max_iters 2"))
    assert f"to watch this training, open {page}\n" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    for part in ('role="status">finished', "2 of 2", f"{root}, 8 files", "<td>--ngf</td><td>2</td><td>64</td>",
                 "<dt>started"):
        assert part in text, part

    def fail(*arguments: Any, **more: Any) -> None:
        raise OSError("the disk\nis <full>")

    monkeypatch.setattr(program, "loop", fail)
    with pytest.raises(OSError, match="full"):
        train(train_options(root, f"{PAGE} --max_iters 4 --continue_train"))
    text = page.read_text(encoding="utf-8")
    assert 'role="status">stopped by an error: the disk is &lt;full&gt;' in text
    assert "resumed" in text


def test_without_matplotlib_the_page_has_no_curves_and_there_is_one_warning(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in [module for module in sys.modules if module.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr(program, "open_loggers", lambda names, run, lines: _eager(open_loggers(names, run, lines)))
    train(train_options(root, f"{PAGE} --max_iters 4 --print_freq 1"))
    assert capsys.readouterr().out.count("warning: no curves on the web page: the package matplotlib is not") == 1
    page = root / "checkpoints" / "experiment_name" / "web" / "index.html"
    assert "<svg" not in page.read_text(encoding="utf-8")
    assert "output_00000004.png" in page.read_text(encoding="utf-8")


def _eager(sinks: list[Sink]) -> list[Sink]:
    for sink in sinks:
        if isinstance(sink, Guarded) and isinstance(sink.sink, HtmlSink):
            sink.sink.refresh_seconds = 0
    return sinks


def test_samples_that_cannot_be_drawn_cost_a_warning_and_not_the_training(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Structure, visuals: Any) -> Any:
        raise RuntimeError("no colours\nleft")

    monkeypatch.setattr(Structure, "draw", fail)
    train(train_options(root, f"{PAGE} --max_iters 2 --display_freq 1"))
    out = capsys.readouterr().out
    for image in (0, 1, 2):
        assert f"warning: the samples at image {image} cannot be drawn (no colours left); the training goes on" in out
    assert content(root / "checkpoints" / "experiment_name")["state.progress.images"] == 2


# --- self-similarity


@pytest.mark.parametrize("method", ["LSeSim", "CycleGAN with FSeSim", "single-image FSeSim", "MUNIT", "CUT"])
def test_models_with_a_structure_loss_draw_it(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = save_folders(tmp_path, counts=(1, 1))
    shown: dict[str, Tensor] = {}
    draw = FixedSamples.draw
    monkeypatch.setattr(FixedSamples, "draw", lambda self: shown.update(found := draw(self)) or found)
    single = " --dataset_mode singleimage" if "single-image" in method else ""
    flags = f"{PAGE} --max_iters 1 --sample_images 1 --amp bf16{single}"
    train(train_options(root, flags, defaults=(NETWORKS, METHODS[method], SIZES)))
    drawn = {name: image for name, image in shown.items() if name.endswith("_similarity")}
    structured = "SeSim" in method or method == "MUNIT"
    assert list(drawn) == [f"samples/0/{label}_similarity" for label in ("input", "output") if structured]
    height, width = shown["samples/0/input"].shape[1:]
    assert shown["samples/0/output"].shape == (3, height, width)
    for name, image in drawn.items():
        assert image.shape == (3, height, width), name
        assert image.isfinite().all()
        assert image.abs().max() <= 1
        centre = image[:, height // 2, width // 2]
        assert centre.tolist() == [1.0, -1.0, -1.0]
        assert image.std() > 0.01, f"{name} shows nothing"
