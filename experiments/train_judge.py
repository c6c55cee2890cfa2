"""Train the judge of ``evaluate.py judge`` on true pairs: satellite photographs, and the labels of atlas sheets.

    python -m experiments.train_judge --photographs datasets/atlas2satellite/trainB \\
        --sheets datasets/atlas2satellite/judgeA --out evaluation/weights/atlas2satellite_judge.safetensors
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from evaluation.pairing import partners, require_equal_sizes
from evaluation.relief_labels import NAMES, relief_labels
from models.networks.segmentation_unet import SegmentationUNet
from options import REQUIRED, flag, parse_flags
from util.errors import UserError, run_program
from util.files import replacing
from util.image_folders import find_images
from util.images import image_size, load_normalized
from util.terminal import with_progress

BATCH = 8
HIGHEST_RATE = 3e-3


def train_judge(images: Tensor, labels: Tensor, *, epochs: int, seed: int) -> SegmentationUNet:
    """Minimise the cross-entropy by AdamW with one cycle of the learning rate.

    Classes are weighted by the inverse square root of their pixels. Images are turned, flipped and changed a little in
    brightness and colour.

    Args:
        images: photographs [N, 3, S, S] in [-1, 1].
        labels: [N, S, S], indices of `NAMES`.
        epochs: passes over the images, in batches of `BATCH`.
        seed: of the weights and of all random choices. On a CPU with one thread it fixes the result.
    """
    pixels = torch.bincount(labels.flatten(), minlength=len(NAMES)).clamp(min=1).float()
    weights = pixels.rsqrt() / (pixels.rsqrt() * pixels).sum() * pixels.sum()
    steps = max(epochs * len(images) // BATCH, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SegmentationUNet(len(NAMES))
        optimizer = torch.optim.AdamW(network.parameters(), lr=HIGHEST_RATE, weight_decay=0.01)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, HIGHEST_RATE, total_steps=steps + 1)
        for _ in with_progress(range(steps), "steps"):
            chosen = torch.randint(len(images), (BATCH,)).tolist()
            seen, truth = zip(*(_augmented(images[index], labels[index]) for index in chosen), strict=True)
            loss = F.cross_entropy(network(torch.stack(seen)), torch.stack(truth), weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    return network.eval()


def _augmented(image: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Turn by a multiple of 90 degrees, flip, and scale the channels by random factors."""
    turns, flipped = int(torch.randint(4, ())), bool(torch.randint(2, ()))
    image, labels = image.rot90(turns, (1, 2)), labels.rot90(turns, (0, 1))
    if flipped:
        image, labels = image.flip(2), labels.flip(1)
    factors = torch.empty(3, 1, 1).uniform_(0.9, 1.1) * torch.empty(1).uniform_(0.8, 1.2)
    return ((image + 1) * factors - 1).clamp(-1, 1), labels


def save_judge(network: SegmentationUNet, path: Path) -> None:
    """Write the weights as float16."""
    from safetensors.torch import save_file  # noqa: PLC0415 - only where such a file is written

    state = {key: value.half().contiguous() if value.is_floating_point() else value
             for key, value in network.state_dict().items()}
    with replacing(path) as temporary:
        save_file(state, temporary)


@dataclass(frozen=True, kw_only=True)
class JudgeFlags:
    """Train the judge of ``evaluate.py judge``."""

    photographs: Path = flag(REQUIRED, "folder of photographs, all squares of one size")
    sheets: Path = flag(REQUIRED, "atlas sheets of the same places, under the same names")
    epochs: int = flag(30, "passes over the photographs", minimum=1)
    seed: int = flag(0, "seed", minimum=0)
    out: Path = flag(REQUIRED, "file of the weights, .safetensors")


def main(argv: Sequence[str] | None = None) -> None:
    """Read, train, save."""
    flags = parse_flags(JudgeFlags, "python -m experiments.train_judge", argv)
    paths = find_images(flags.photographs, "--photographs")
    sheets = partners(paths, flags.photographs, flags.sheets, "--sheets")
    require_equal_sizes(paths, sheets)
    if len(sizes := {image_size(path) for path in paths} | {image_size(paths[0])[::-1]}) > 1:
        raise UserError(f"--photographs: '{flags.photographs}' holds images of {len(sizes)} sizes or shapes: make them "
                        "squares of one size")
    torch.set_num_threads(1)
    images = torch.stack([load_normalized(path, 3) for path in paths])
    labels = torch.stack([relief_labels(load_normalized(path, 3)) for path in with_progress(sheets, "sheets labelled")])
    save_judge(train_judge(images, labels, epochs=flags.epochs, seed=flags.seed), flags.out)


if __name__ == "__main__":
    run_program("experiments.train_judge", main)
