"""The spatially-correlative losses: windowed self-similarity against the patch loop, and accuracy in bf16.

    python -m benchmarks.losses --json losses.json
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from models.precision import set_precision
from options import SpeedFlags, flag, parse_flags
from spatial_correlative import self_similarity
from util.errors import UserError, run_program

from .accuracy import accuracy_rows
from .measure import MIB, Call, count_flops, median_seconds, peak_memory
from .plain import patch_similarity
from .report import BenchmarkFlags, describe_machine, lines, table, use_device, write_json


@dataclass(frozen=True)
class Case:
    """Features [batch, channels, side, side], and their windows and queries."""

    batch: int
    channels: int
    side: int
    window: int
    queries: int


@dataclass(frozen=True)
class LossFlags(BenchmarkFlags):
    """Time the windowed self-similarity against the patch loop, and compare the losses in bf16 with float64."""

    batch_size: tuple[int, ...] = flag((1, 4), "images", minimum=1, several=True)
    channels: int = flag(256, "channels of the features", minimum=1)
    side: int = flag(64, "side of the feature map", minimum=1)
    window: int = flag(32, "side of the window of keys", minimum=1)
    queries: int = flag(256, "query positions", minimum=1)
    size: int = flag(256, "side of the images for accuracy; VGG16 needs 32", minimum=32)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print two tables."""
    arguments = parse_flags(LossFlags, "python -m benchmarks.losses", argv)
    if arguments.queries > arguments.side**2:
        raise UserError(f"--queries {arguments.queries} is more than a map of --side {arguments.side} has positions: "
                        f"use at most {arguments.side**2}")
    device = use_device(arguments.device, arguments.threads)
    set_precision(SpeedFlags())  # as training does
    machine = describe_machine(device)
    print(lines(machine))
    cases = [Case(batch, arguments.channels, arguments.side, arguments.window, arguments.queries)
             for batch in arguments.batch_size]
    similarity = [similarity_row(case, device, rounds=arguments.rounds) for case in cases]
    print(f"\nWindowed self-similarity, forward and backward\n\n{table(similarity, markdown=arguments.markdown)}")
    accuracy = [row for window in (64, 32) for row in accuracy_rows(arguments.size, window, device)]
    print(f"\nRelative errors against float64\n\n{table(accuracy, markdown=arguments.markdown)}")
    if arguments.json:
        write_json(arguments.json, {"benchmark": "losses", "machine": machine, "rounds": arguments.rounds,
                                    "similarity": similarity, "accuracy": accuracy})


def similarity_row(case: Case, device: torch.device, *, rounds: int) -> dict[str, str | int | float]:
    """Time and memory of both ways to the similarity of each query to its window, and back to the features."""
    ways = {"plain": build_patch_loop, "ours": build_matrix_product}
    memory = {name: peak_memory(build, case, device, device=device) / MIB for name, build in ways.items()}
    calls = {name: build(case, device) for name, build in ways.items()}
    seconds = median_seconds(calls, device, rounds=rounds)
    return {
        "channels": case.channels, "side": case.side, "window": case.window, "queries": case.queries,
        "batch": case.batch, "plain ms": 1000 * seconds["plain"], "ms": 1000 * seconds["ours"],
        "times faster": seconds["plain"] / seconds["ours"],
        "plain GFLOP": count_flops(calls["plain"]) / 1e9, "GFLOP": count_flops(calls["ours"]) / 1e9,
        "plain MiB": memory["plain"], "MiB": memory["ours"], "memory ratio": memory["ours"] / memory["plain"],
    }


def build_patch_loop(case: Case, device: torch.device) -> Call:
    """Cut the window of each query out of the features."""
    return _there_and_back(partial(patch_similarity, patch_size=case.window, normalize=False), case, device)


def build_matrix_product(case: Case, device: torch.device) -> Call:
    """Gather windows from one matrix product, as `self_similarity` does."""
    return _there_and_back(partial(self_similarity, patch_size=case.window), case, device)


def _there_and_back(similarity: Callable[[Tensor, Tensor], Tensor], case: Case, device: torch.device) -> Call:
    generator = torch.Generator().manual_seed(0)
    shape = (case.batch, case.channels, case.side, case.side)
    features = torch.randn(shape, generator=generator).to(device).requires_grad_()
    positions = torch.randperm(case.side**2, generator=generator)[: case.queries].to(device)

    def call() -> None:
        features.grad = None
        similarity(features, positions).sum().backward()

    return call


if __name__ == "__main__":
    run_program("benchmarks.losses", main)
