"""``--model test``: only a generator, to translate in one direction."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from options import Options, RunFlags, TestFlags, TrainFlags, flag, recorded_flags
from options.flag import plain_name
from util.errors import UserError
from util.state_dicts import AVERAGE, has_network

from .base import Model
from .building import build_generator, is_reversed, refuse_way_back
from .objective import Minimize
from .translation import translate_any_size

MORE_INPUTS = {"style_dim": "a style", "num_timesteps": "steps"}
"""Flags of models whose generators take more than images, and names of these inputs."""


@dataclass(frozen=True)
class SuffixFlags:
    """The generator of the checkpoint."""

    model_suffix: str = flag("", "load EPOCH_net_G<suffix>.pth, as in _A for one half of a CycleGAN",
                             parse=lambda text: plain_name(text) if text else "")


class TestModel(Model):
    """Loads and runs a generator of any model; needs images of the source domain only."""

    __test__ = False  # not a test case, whatever pytest thinks of the name
    flags: ClassVar[tuple[type, ...]] = (SuffixFlags,)

    @classmethod
    def defaults(cls, training: bool) -> Mapping[str, Any]:
        del training
        return {"dataset_mode": "single"}

    @classmethod
    def check(cls, options: Options) -> None:
        if TrainFlags in options:
            raise UserError("--model test only translates; choose another model to train")
        values = options.as_dict()
        folder = Path(values["checkpoints_dir"]) / values["name"]
        recorded = recorded_flags(folder) or {}
        if missing := next((what for flag, what in MORE_INPUTS.items() if flag in recorded), None):
            model = recorded.get("model")
            raise UserError(f"{folder} was trained with --model {model}, whose generator needs {missing}: add --model "
                            f"{model} (and --dataset_mode single for a plain folder or a file)")
        tag, average = options[RunFlags].tag, AVERAGE * options[TestFlags].use_ema
        whole, *halves = (has_network(folder, tag, f"G{half}{average}") for half in ("", "_A", "_B"))
        if not values["model_suffix"] and not whole and any(halves):
            raise UserError(f"{folder} has no generator G{average}, but halves of a CycleGAN: add --model_suffix _A or "
                            "--model_suffix _B")
        half, trained = values["model_suffix"], options.recorded.get("direction")
        directed = values["dataset_mode"] != "single" or values["range_A"] != values["range_B"]
        if half not in ("_A", "_B"):
            refuse_way_back(options)
        elif trained and directed and is_reversed(options) != (half == "_B"):
            fitting = "BtoA" if values["direction"] == "AtoB" else "AtoB"
            raise UserError(f"--model_suffix {half} translates the images of --direction {fitting}: add that, or "
                            "choose the other half")

    def __init__(self, options: Options, *, training: bool) -> None:
        super().__init__(options, training=training)
        self.generator = build_generator(options)
        self.networks["G" + options[SuffixFlags].model_suffix] = self.generator

    def translate(self, images: Tensor) -> Tensor:
        return translate_any_size(self.generator, images)

    def optimize_parameters(self, minimize: Minimize) -> None:
        raise TypeError("the test model has nothing to optimise")
