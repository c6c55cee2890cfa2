"""Speed and memory of translation: batches, half precision, and large images whole and in tiles.

    python -m benchmarks.inference                                        # sizes that suit the device
    python -m benchmarks.inference --large 4096 --tile 512 --tile_overlap 128 --json inference.json
    python -m benchmarks.inference --name mine --checkpoints_dir checkpoints

Flags that --help does not list go to ``test.py``'s parser: --ngf 32, --netG unet_256. With --name the weights are those
of that experiment, otherwise random ones. The images are enlarged cuts of a bundled photograph. Agreement is in
8-bit levels: of half precision with float32, and of tiles with the whole image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from data import DATASETS
from inference import Translator
from models import MODELS
from options import TEST, RunFlags, flag, parse, parse_known_flags
from util.errors import run_program
from util.images import load_image

from .measure import MIB, median_seconds, peak_memory
from .report import BenchmarkFlags, Row, describe_machine, lines, table, use_device, write_json

PHOTOGRAPH = Path(__file__).parent.parent / "datasets" / "photo2painting" / "trainA" / "EveningGlow.jpg"
SPEEDS: dict[str, tuple[str, ...]] = {
    "float32": ("--no_tf32",),
    "float32 channels first": ("--no_tf32", "--channels_last", "false"),
    "tf32": (),
    "bf16": ("--amp", "bf16"),
    "bf16 channels first": ("--amp", "bf16", "--channels_last", "false"),
}


DEFAULTS = {
    "cpu": {"size": 128, "large": 256, "tile": 160, "tile_overlap": 64},
    "cuda": {"size": 256, "large": 4096, "tile": 1024, "tile_overlap": 128},
}
"""In pixels."""
Translation = Callable[[], Tensor]


@dataclass(frozen=True)
class Case:
    """A row: ``batch`` images of ``size``, with flags of ``test.py``."""

    name: str
    size: int
    batch: int
    flags: tuple[str, ...]


@dataclass(frozen=True)
class InferenceFlags(BenchmarkFlags):
    """Time translation and measure its memory. Other flags are those of test.py, like --ngf, or --name for weights."""

    rounds: int = flag(3, "timed rounds", minimum=1)
    size: int = flag(0, "side of the images in batches, in pixels; 0: 128, on a GPU 256", minimum=0)
    large: int = flag(0, "side of the large image, in pixels; 0: 256, on a GPU 4096", minimum=0)
    tile: int = flag(0, "side of its tiles, in pixels; 0: 160, on a GPU 1024", minimum=0)
    tile_overlap: int = flag(0, "overlap of its tiles, in pixels; 0: 64, on a GPU 128", minimum=0)
    batch_size: tuple[int, ...] = flag((1, 4, 8), "images in a batch", minimum=1, several=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print two tables: batches of small images, and one large image."""
    typed, rest = parse_known_flags(InferenceFlags, "python -m benchmarks.inference", argv)
    device, flags = use_device(typed.device, typed.threads), tuple(rest)
    sizes: dict[str, Any] = {name: getattr(typed, name) or size for name, size in DEFAULTS[device.type].items()}
    arguments = replace(typed, **sizes)
    machine = describe_machine(device)
    print(lines(machine), end="\n\n")
    batches = [row for batch in arguments.batch_size
               for row in measure(batch_cases(arguments, flags, batch, device), device, arguments.rounds)]
    print(table(batches, markdown=arguments.markdown), end="\n\n", flush=True)
    large = measure(large_cases(arguments, flags, device), device, rounds=1 if device.type == "cpu" else 3)
    print(table(large, markdown=arguments.markdown))
    if arguments.json:
        write_json(arguments.json, {"benchmark": "inference", "machine": machine, "rounds": arguments.rounds,
                                    "flags": flags, "batches": batches, "large": large})


def batch_cases(
    arguments: InferenceFlags, flags: tuple[str, ...], batch: int, device: torch.device
) -> list[Case]:
    """List the speeds that suit the device, float32 first."""
    return [Case(name, arguments.size, batch, (*flags, *speed)) for name, speed in SPEEDS.items()
            if device.type == "cuda" or not name.startswith("tf32")]


def large_cases(arguments: InferenceFlags, flags: tuple[str, ...], device: torch.device) -> list[Case]:
    """List the whole image first, then tiles with each kind of statistics; on a GPU these in bf16, too."""
    tiles = ("--tile", str(arguments.tile), "--tile_overlap", str(arguments.tile_overlap), "--tile_statistics")
    speeds = ("float32", "bf16") if device.type == "cuda" else ("float32",)
    kinds = {"whole": (), **{f"tiles, {kind}": (*tiles, kind) for kind in ("tile", "scaled", "exact")}}
    return [Case(f"{kind}, {speed}", arguments.large, 1, (*flags, *SPEEDS[speed], *cut))
            for speed in speeds for kind, cut in kinds.items()]


def measure(cases: Sequence[Case], device: torch.device, rounds: int) -> list[Row]:
    """Measure each case, and compare it with the first one; a case that exceeds the memory has no numbers."""
    translations: dict[str, Translation] = {}
    levels: dict[str, Tensor] = {}
    peaks: dict[str, float] = {}
    for case in cases:
        try:
            peaks[case.name] = peak_memory(build, case, device, device=device, calls=1) / MIB
            translation = build(case, device)
            levels[case.name] = 127.5 * translation().cpu().clamp(-1, 1)
        except torch.OutOfMemoryError:
            continue
        translations[case.name] = translation
    seconds = median_seconds(translations, device, rounds=rounds, warmup=0)  # each has run once
    reference = levels.get(cases[0].name)
    rows: list[Row] = []
    for case in cases:
        time, made = seconds.get(case.name), levels.get(case.name)
        difference = (made - reference).abs() if made is not None and reference is not None else None
        rows.append({
            "": case.name, "size": case.size, "batch": case.batch, "images/s": case.batch / time if time else None,
            "s": time, "MiB": peaks.get(case.name),
            "max. difference": difference.max().item() if difference is not None else None,
            "mean difference": difference.mean().item() if difference is not None else None,
        })
    return rows


def build(case: Case, device: torch.device) -> Translation:
    """Return the translation of a case, ready to be called: [B, C, H, W] in [-1, 1]."""
    options = parse(TEST, MODELS, DATASETS, ["--dataroot", str(PHOTOGRAPH), "--init_gain", "1", *case.flags])
    torch.manual_seed(0)
    translator = Translator(options, device)
    if "--name" in case.flags:
        translator.load(options[RunFlags].folder, options[RunFlags].tag)
    in_tf32 = torch.backends.cudnn.allow_tf32
    images = photograph(case.size).expand(case.batch, -1, -1, -1)
    images = images.contiguous() if translator.tiling else images.to(device)  # tiles go to the device one by one

    def call() -> Tensor:
        torch.backends.cudnn.allow_tf32 = in_tf32  # cases take turns
        return translator.translate(images)["fake_B"]

    return call


def photograph(size: int) -> Tensor:
    """Return the middle of the bundled photograph, [1, 3, size, size] in [-1, 1]."""
    image = load_image(PHOTOGRAPH, 3).float() / 127.5 - 1
    left = (image.shape[2] - image.shape[1]) // 2
    square = image[None, :, :, left:left + image.shape[1]]
    return F.interpolate(square, (size, size), mode="bicubic", antialias=True).clamp(-1, 1)


if __name__ == "__main__":
    run_program("benchmarks.inference", main)
