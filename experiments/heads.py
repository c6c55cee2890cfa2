"""Train LSeSim's heads without a generator, and compare the images that they learn from.

    python -m experiments.heads --sources DIR --aligned DIR --positive true --skip 64 --out checkpoints/heads

In training a head learns from jittered copies and from translations. Here the positives are either jittered copies, or
the true counterparts, which no unpaired training has: a bound. ``evaluate.py structure --heads DIR`` measures the
result, on the pairs that ``--skip`` has kept from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from evaluation.pairing import partners
from models.networks import initialize
from models.networks.vgg import VGG16Features
from models.structure import negative
from options import REQUIRED, flag, parse_flags
from spatial_correlative import SpatialCorrelativeLoss
from util.errors import UserError, run_program
from util.files import replacing
from util.image_folders import find_images
from util.images import load_normalized
from util.state_dicts import save_file, state_path
from util.words import counted

from .head_features import jittered

LAYERS = ("relu3_1", "relu4_1")


def train_heads(
    sources: Sequence[Path], aligned: Sequence[Path], *, positive: str, updates: int, temperature: float = 0.07,
    normalize: bool = False,
) -> SpatialCorrelativeLoss:
    """Train heads with Adam on the contrastive loss, an image in each step.

    Args:
        sources, aligned: image files, pair by pair; all of one size.
        positive: ``true``: a source and its aligned image are positives; ``jitter``: a source and its jittered copy.
            Another pair's aligned image, turned upside down, gives the negatives, as in training.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = VGG16Features(LAYERS)
    loss = SpatialCorrelativeLoss(head_channels=network.channels, temperature=temperature, normalize=normalize)
    initialize(loss, "normal", 0.02)
    optimizer = torch.optim.Adam(loss.parameters(), lr=8e-4, betas=(0.5, 0.999))
    for _ in range(updates):
        chosen, other = torch.randperm(len(sources), generator=generator)[:2].tolist()
        source, own, foreign = (load_normalized(path, 3) for path in (sources[chosen], aligned[chosen], aligned[other]))
        if positive == "jitter":
            own = jittered(source, generator)
        with torch.no_grad():
            seen = [network(image[None]) for image in (source, own)]
            seen.append(network(negative(foreign[None], like=source[None])))
        value = loss.contrast(*seen)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return loss


def save_heads(loss: SpatialCorrelativeLoss, folder: Path) -> None:
    """Write heads as a checkpoint that ``evaluate.py structure --heads`` reads."""
    path = state_path(folder, "latest")
    with replacing(path) as temporary:
        save_file({"networks": {"F": loss.state_dict()}, "options": {
            "attn_layers": list(LAYERS), "vgg_weights": "bundled", "patch_size": loss.patch_size}}, temporary, path)


@dataclass(frozen=True, kw_only=True)
class HeadFlags:
    """Train the heads of LSeSim without a generator."""

    sources: Path = flag(REQUIRED, "folder of images")
    aligned: Path = flag(REQUIRED, "their true counterparts, under the same names")
    positive: str = flag("jitter", "positives: jittered copies or true counterparts", choices=("true", "jitter"))
    skip: int = flag(0, "leave out this many pairs at the beginning", minimum=0)
    updates: int = flag(600, "steps of Adam", minimum=0)
    T: float = flag(0.07, "temperature", above=0)
    use_norm: bool = flag(False, "use cosine similarity")
    out: Path = flag(REQUIRED, "folder of the checkpoint")


def main(argv: Sequence[str] | None = None) -> None:
    """Train and save."""
    flags = parse_flags(HeadFlags, "python -m experiments.heads", argv)
    sources = find_images(flags.sources, "--sources")
    aligned = partners(sources, flags.sources, flags.aligned, "--aligned")
    if len(sources) < flags.skip + 2:
        raise UserError(f"--skip {flags.skip} leaves less than two of {counted(len(sources), 'pair')}")
    save_heads(train_heads(sources[flags.skip:], aligned[flags.skip:], positive=flags.positive, updates=flags.updates,
                           temperature=flags.T, normalize=flags.use_norm), flags.out)


if __name__ == "__main__":
    run_program("experiments.heads", main)
