"""Scores of a test set during training, and the best generator so far.

Nothing of it touches the training: the weights are copied into a model that only translates, and random states are put
back. Several processes share the images; they meet when all have theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from evaluation.experiments import mode_for_test, options_for_test
from evaluation.folder_scores import write_json
from evaluation.generator_scores import Examiner
from models import Model
from options import DataFlags, EvalFlags, Options, SpeedFlags
from training.checkpoints import save_networks
from util.distributed import World
from util.errors import UserError
from util.loggers import Sink
from util.state_dicts import BEST

from .random_states import random_states, restore_random_states

MEASURE = "frechet"
"""What the best generator has least of."""


class Evaluation:
    """What --eval_freq asks for. Its state is part of the training's, with or without the flag.

    Args:
        options: of the training.
        model: it is scored as it is at that moment, or its moving average where it keeps one.
        folder: the experiment's: ``best_net_G.pth`` and so on, and ``best.json``.

    Raises:
        UserError: the test set is missing, has fewer than two images, or one that cannot be read.
    """

    def __init__(self, options: Options, model: Model, device: torch.device, folder: Path, world: World) -> None:
        self.frequency = options[EvalFlags].eval_freq
        self._model, self._device, self._folder, self._world = model, device, folder, world
        self._last = 0  # images seen when it was last scored
        self._best: dict[str, Any] | None = None
        if not self.frequency:
            return
        try:
            with undisturbed(device):
                self._examiner = Examiner(test_options(options, averaged=bool(model.decays)), device, world)
                self._examiner.read_everything()
        except UserError as error:
            raise UserError(f"--eval_freq: {error}") from error

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {"last": self._last, "best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Go on from `state_dict`; returns what the user should know."""
        last, best = int(state["last"]), state["best"]
        if self.frequency and best and best["test_set_sha256"] != self._examiner.conditions["test_set_sha256"]:
            self._last, self._best = 0, None
            return ["--eval_freq: the test set is another one, so the best score starts afresh"]
        self._last, self._best = last, best
        return []

    def is_due(self, seen: int) -> bool:
        """Whether the weights after ``seen`` images have no score, and one is wanted at the end."""
        return bool(self.frequency) and seen != self._last

    def after(
        self, seen: int, epoch: int, sinks: Sequence[Sink], stopped: Callable[[], bool], *, final: bool = False
    ) -> None:
        """Score, if it is time to, and keep the weights if they are the best so far. All processes must call it.

        Args:
            seen: images trained on.
            epoch: the current one.
            sinks: get the scores, as ``eval_frechet`` and so on.
            stopped: whether a signal waits; it is then put off to the resumed run.
            final: the training ends here, so that it is time in any case.

        Raises:
            UserError: the best generator cannot be written; in all processes.
        """
        if not self.is_due(seen):
            return
        due = final or seen // self.frequency > self._last // self.frequency
        if not due or (scores := self._scores(stopped)) is None:
            return
        self._last = seen
        for sink in sinks:
            sink.scalars(seen, {f"eval_{name}": value for name, value in scores.items()})
        if self._best is None or scores[MEASURE] < self._best[MEASURE]:
            self._best = {"epoch": epoch, "images": seen, **scores, "averaged": bool(self._model.decays),
                          "test_set_sha256": self._examiner.conditions["test_set_sha256"]}
            self._keep()

    def _scores(self, stopped: Callable[[], bool]) -> dict[str, float] | None:
        with undisturbed(self._device):
            self._examiner.translator.copy_weights(self._model.networks)
            return self._examiner.scores(stopped)

    def _keep(self) -> None:
        failure = None
        if self._world.is_first:
            networks = {name: self._model.networks[name] for name in self._model.published}
            try:
                save_networks(self._folder, BEST, networks)
                write_json(self._folder / f"{BEST}.json", {**(self._best or {}), **self._examiner.conditions})
            except UserError as error:
                failure = str(error)
        if sentence := self._world.same(failure):
            raise UserError(sentence)


def test_options(options: Options, *, averaged: bool) -> Options:
    """Those of ``test.py`` for the test set of a training.

    Raises:
        UserError: the test set is missing.
    """
    flags, trained = options[EvalFlags], options.as_dict()
    root, phase = flags.eval_dataroot or options[DataFlags].dataroot, flags.eval_phase
    limit = "inf" if flags.eval_num is None else flags.eval_num
    scaled = [f"--load_size={flags.eval_load_size}"] if flags.eval_load_size else []
    return options_for_test(
        trained, f"--dataroot={root}", f"--phase={phase}", f"--num_test={limit}", f"--use_ema={averaged}",
        f"--dataset_mode={mode_for_test(trained, Path(root), phase, 'auto')}",
        f"--no_tf32={options[SpeedFlags].no_tf32}", *scaled)


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Put back, at the block's end, what training on ``device`` draws and how its convolutions are chosen."""
    states, search = random_states(device), torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False  # images of many sizes: each would start a search
    try:
        yield
    finally:
        restore_random_states(states, device)
        torch.backends.cudnn.benchmark = search
