"""Steps of several methods in float64, and trainings, in one job of processes for test_distributed.py."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import torch
from torch import Tensor

from data import DATASETS
from models import MODELS
from models.precision import prepare
from models.sb import BridgeModel
from models.styles import StyledModel
from options import TRAIN, RunFlags, SpeedFlags, TrainFlags, parse
from training.job import train_in
from training.step import build_step
from util.distributed import World, joined
from util.signals import Signals

IMAGES = 4  # in a step, of all processes


def drawn_together(images: Tensor, style_dim: int, each: int = 1) -> Tensor:
    """Draw ``each`` styles, each for all images."""
    return torch.randn(each, style_dim, dtype=images.dtype).repeat_interleave(len(images), dim=0)


def run(folder: Path, flags: list[str], world: World) -> dict[str, Tensor]:
    """Return gradients after the first step and weights after the second."""
    options = parse(TRAIN, MODELS, DATASETS, ["--dataroot", str(folder), *flags])
    torch.manual_seed(1)
    model = MODELS[options[RunFlags].model](options, training=True)
    for network in (*model.networks.values(), *model.constants.values()):
        network.double()
    prepare(model, torch.device("cpu"), options[SpeedFlags])
    train_step = build_step(model, torch.device("cpu"), options, world)
    if isinstance(model, StyledModel):  # draws for each image; processes of one seed all draw the same
        model.draw_styles = lambda images, each=1: drawn_together(images, model.style_dim, each)
    if isinstance(model, BridgeModel):
        model.draw = lambda like, *shape: torch.randn(1, *shape, dtype=like.dtype).expand(len(like), *shape)
    found: dict[str, Tensor] = {}
    for step in range(2):
        generator = torch.Generator().manual_seed(step)
        images = {name: 2 * torch.rand(IMAGES, 3, 16, 16, generator=generator, dtype=torch.float64) - 1
                  for name in ("A", "B", "A_aug", "B_aug")}
        parts = options[TrainFlags].grad_accum
        size = IMAGES // parts  # as many images of all processes are one batch
        batches = [
            {name: image[part * size:][:size][world.rank * size // world.size:][:size // world.size]
             for name, image in images.items()}
            for part in range(parts)]
        train_step(batches)
        for name, network in model.networks.items():
            for key, parameter in network.named_parameters():
                if step == 0 and parameter.grad is not None:
                    found[f"first.{name}.{key}"] = parameter.grad.clone()
                elif step == 1:
                    found[f"second.{name}.{key}"] = parameter.detach().clone()
    return found


def main() -> None:
    """Run ``FOLDER/job.json`` for ``job_of_processes.py FOLDER``: its methods and its trainings."""
    folder, world, device = Path(sys.argv[1]), World.of_environment(), torch.device("cpu")
    job = json.loads((folder / "job.json").read_text())
    with Signals(world) as signals, joined(world, device):
        steps = {name: run(folder, [*job["common"], *shlex.split(method)], world)
                 for name, method in job["methods"].items()}
        if world.is_first:
            torch.save(steps, folder / f"{world.size}.pth")
        for argv in job["trainings"]:
            train_in(world, device, parse(TRAIN, MODELS, DATASETS, argv), signals)


if __name__ == "__main__":
    main()
