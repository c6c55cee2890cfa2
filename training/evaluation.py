"""Evaluation during training, and the best generator so far.

It does not affect the training: the weights are copied into a model for translation, and random states are restored.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from evaluation.experiments import mode_for_test, options_for_test
from evaluation.generator_scores import GeneratorScorer
from evaluation.reports import write_json
from models import Model
from options import DataFlags, EvalFlags, Options, SpeedFlags
from training.checkpoints import save_networks
from util.distributed import World
from util.errors import UserError
from util.loggers import Sink
from util.state_dicts import BEST

from .random_states import random_states, restore_random_states

CRITERION = "frechet"
"""The score that is lowest for the best generator."""


class Evaluation:
    """The evaluation of ``--eval_freq``. Its state is saved with the training, even without the flag.

    Args:
        options: of the training.
        model: the model; its moving average is scored if there is one.
        folder: of the experiment; gets ``best_net_G.pth`` and so on, and ``best.json``.

    Raises:
        UserError: the test set is missing, has fewer than two images, or one that cannot be read.
    """

    def __init__(self, options: Options, model: Model, device: torch.device, folder: Path, world: World) -> None:
        self.frequency = options[EvalFlags].eval_freq
        self._model, self._device, self._folder, self._world = model, device, folder, world
        self._last = 0  # images seen at the last evaluation
        self._best: dict[str, Any] | None = None
        if not self.frequency:
            return
        try:
            with undisturbed(device):
                self._scorer = GeneratorScorer(evaluation_options(options, averaged=bool(model.decays)), device, world)
                self._scorer.read_everything()
        except UserError as error:
            raise UserError(f"--eval_freq: {error}") from error

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a resumed training."""
        return {"last": self._last, "best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> list[str]:
        """Restore a `state_dict`; returns notes for the user."""
        last, best = int(state["last"]), state["best"]
        if self.frequency and best and best["test_set_sha256"] != self._scorer.conditions["test_set_sha256"]:
            self._last, self._best = 0, None
            return ["--eval_freq: the test set is another one, so the best score starts afresh"]
        self._last, self._best = last, best
        return []

    def is_due(self, seen: int) -> bool:
        """Check whether scores are wanted, and the weights after ``seen`` images have none yet."""
        return bool(self.frequency) and seen != self._last

    def after(
        self, seen: int, epoch: int, sinks: Sequence[Sink], stopped: Callable[[], bool], *, final: bool = False
    ) -> None:
        """Score if it is due, and save the weights if they are the best so far. All processes must call it.

        Args:
            seen: images seen.
            epoch: the current one.
            sinks: get the scores, as ``eval_frechet`` and so on.
            stopped: whether a signal is pending; the evaluation is then left to the resumed run.
            final: the training ends here, so that the evaluation is due.

        Raises:
            UserError: the best generator cannot be written; in all processes.
        """
        if not self.is_due(seen):
            return
        if not final and seen // self.frequency == self._last // self.frequency:
            return
        with undisturbed(self._device):
            self._scorer.translator.copy_weights(self._model.networks)
            scores = self._scorer.scores(stopped)
        if scores is None:
            return
        self._last = seen
        for sink in sinks:
            sink.scalars(seen, {f"eval_{name}": value for name, value in scores.items()})
        if self._best is None or scores[CRITERION] < self._best[CRITERION]:
            self._best = {"epoch": epoch, "images": seen, **scores, "averaged": bool(self._model.decays),
                          "test_set_sha256": self._scorer.conditions["test_set_sha256"]}
            self._keep()

    def _keep(self) -> None:
        failure = None
        if self._world.is_first:
            networks = {name: self._model.networks[name] for name in self._model.published}
            try:
                save_networks(self._folder, BEST, networks)
                write_json(self._folder / f"{BEST}.json", {**(self._best or {}), **self._scorer.conditions})
            except UserError as error:
                failure = str(error)
        if sentence := self._world.same(failure):
            raise UserError(sentence)


def evaluation_options(options: Options, *, averaged: bool) -> Options:
    """Parse options of ``test.py`` for the test set of a training.

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
    """Restore random states and the choice of convolutions on ``device`` at the end of the block."""
    states, search = random_states(device), torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False  # each new image size would start a search
    try:
        yield
    finally:
        restore_random_states(states, device)
        torch.backends.cudnn.benchmark = search
