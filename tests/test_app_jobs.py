"""Translations of app.py for several pages: long and short ones, cancelling, sizes, examples, the ring."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import NETWORKS, save_noise, train_options

from inference import Translator
from models import MODELS
from training.checkpoints import save_networks
from web import pictures
from web.checkpoints import Checkpoint, find_checkpoints
from web.events import INPUT, Events
from web.examples import examples, thumbnails
from web.jobs import LONG, Cancelled, Check, Jobs, interruptible
from web.pictures import Studio
from web.similarity import ringed


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A generator of random weights."""
    root = tmp_path_factory.mktemp("jobs")
    for domain in "AB":
        save_noise(root / f"train{domain}" / "x.png", seed=1)
    options = train_options(root, "--name mine", defaults=(NETWORKS,))
    model = MODELS["sc"](options, training=True)
    folder = root / "checkpoints" / "mine"
    options.save(folder, "train_opt")
    save_networks(folder, "latest", {"G": model.networks["G"]})
    return find_checkpoints(root / "checkpoints")["mine, latest"]


def test_a_long_translation_does_not_hold_up_a_short_one() -> None:
    jobs = Jobs()
    with jobs.job("first", long=True) as first, jobs.job("second", long=False) as second:
        first()
        second()
        jobs.cancel("second")
        with pytest.raises(Cancelled):
            second()
        first()


def test_a_translation_that_waits_can_be_cancelled() -> None:
    jobs, ended = Jobs(), threading.Event()

    def wait() -> None:
        try:
            with jobs.job("second", long=True):
                pass
        except Cancelled:
            ended.set()

    with jobs.job("first", long=True):
        thread = threading.Thread(target=wait)
        thread.start()
        while "second" not in jobs._current:
            pass
        jobs.cancel("second")
        thread.join(30)
        assert ended.is_set()
    assert jobs._current == {}


def test_a_new_translation_of_a_page_cancels_the_one_before() -> None:
    jobs = Jobs()
    with jobs.job("page", long=True) as before, jobs.job("page", long=False) as now:
        now()
        with pytest.raises(Cancelled):
            before()


def test_a_translation_stops_between_two_layers_and_leaves_no_trace(checkpoint: Checkpoint) -> None:
    translator = pictures.load_generator(checkpoint, 0, "-1", 0)
    images, layers = torch.rand(1, 3, 32, 32) * 2 - 1, []

    def check() -> None:
        layers.append(1)
        if len(layers) == 5:
            raise Cancelled

    with pytest.raises(Cancelled), interruptible(translator, check):
        translator(images)
    assert len(layers) == 5
    translator(images)
    assert len(layers) == 5


def test_a_cancelled_translation_leaves_the_page_as_it_is(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradio = pytest.importorskip("gradio")
    events = Events(checkpoint.root, Studio(tmp_path, "-1", 0))
    request = SimpleNamespace(session_hash="page", query_params={"checkpoint": "mine, latest", "compared": "none"})

    @contextmanager
    def cancelled(translator: Translator, check: Check) -> Iterator[None]:
        events.cancel(request)
        with interruptible(translator, check):
            yield

    values: tuple[Any, ...] = (str(save_noise(tmp_path / "a.png", 1)), "mine, latest", INPUT, 1, 64, "relu3_1")
    done = events.translate(request, *values)
    assert "24x20 pixels, translated in" in done[5]
    monkeypatch.setattr(pictures, "interruptible", cancelled)
    assert events.translate(request, *values) == (gradio.skip(),) * len(done)
    chosen, compared, _ = events.open(request)
    assert (chosen.value, compared.value) == ("mine, latest", INPUT)


def test_the_page_says_at_which_size_and_for_how_long_an_image_is_translated(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    studio = Studio(tmp_path, "-1", 0)
    small, large = save_noise(tmp_path / "a.png", 1, (40, 30)), save_noise(tmp_path / "b.png", 1, (3000, 1000))
    assert studio.note(small, checkpoint, 1024) == "40x30 pixels"
    (tmp_path / "into").mkdir()
    shown = studio.translate(small, tmp_path / "into", checkpoint, None, style=1, side=20)
    assert shown.note.startswith("20x15 pixels, translated in ")
    assert studio.note(large, checkpoint, 100).startswith("3000x1000 pixels, scaled down to 100x33, about ")
    assert studio.note(large, None, 4096) == (
        "3000x1000 pixels, if the memory is too small, start app.py with --tile 512")
    assert studio.note(large, None, 1024) == "3000x1000 pixels, scaled down to 1024x341"
    assert "--tile" not in Studio(tmp_path, "-1", 512).note(large, None, 4096)
    assert 1024 * 341 < LONG < 1024 * 1024


@pytest.mark.parametrize(("flags", "suffix", "expected"), [
    ({}, "", "testA"), ({"direction": "BtoA"}, "", "testB"), ({}, "_B_ema", "testB"), ({"dataroot": ""}, "", "")])
def test_examples_are_spread_over_the_input_domain_of_the_test_set(
    tmp_path: Path, flags: dict[str, str], suffix: str, expected: str
) -> None:
    for domain in "AB":
        for number in range(10):
            (tmp_path / f"test{domain}").mkdir(exist_ok=True)
            (tmp_path / f"test{domain}" / f"{number}.png").touch()
    (folder := tmp_path / "checkpoints" / "mine").mkdir(parents=True)
    (folder / "train_opt.json").write_text(json.dumps({"dataroot": str(tmp_path), "direction": "AtoB", **flags}))
    found = examples(Checkpoint(folder.parent, "mine", "latest", suffix))
    assert found == ([tmp_path / expected / f"{number}.png" for number in (1, 3, 5, 7, 9)] if expected else [])


def test_a_bundled_generator_has_examples_of_its_data_set_and_files_that_are_no_images_are_left_out(
    tmp_path: Path
) -> None:
    found = examples(Checkpoint(tmp_path, "generators/lineart2color-sc", "latest", ""))
    assert {path.parent.parts[-2:] for path in found} == {("lineart2color", "testA")}
    (broken := tmp_path / "x.png").touch()
    assert [file for _, file in thumbnails([broken, found[0]], tmp_path)] == [found[0]]


def test_the_ring_is_white_with_black_edges_on_any_ground() -> None:
    for value in (-1.0, 1.0):
        picture = ringed(torch.full((3, 100, 200), value), (0.5, 0.25))
        changed = (picture != value).all(dim=0).nonzero().float()
        assert (changed.mean(dim=0) - torch.tensor([49.5, 49.5])).abs().max() < 1
        assert {-1.0, 1.0} <= set(picture.unique().tolist())
