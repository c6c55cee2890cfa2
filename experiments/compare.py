"""Train every method on the same images with as many generator updates, and compare the results.

    python -m experiments.compare                                     # every method, two seeds: hours on a CPU
    python -m experiments.compare --methods cut sc-LSeSim --seeds 1   # a part of it
    python -m experiments.compare --measure                           # the costs of a step too: on a quiet machine
    python -m experiments.compare --records_dir docs/records/compare --extra="--amp bf16"  # docs' table
    python -m experiments.compare --data atlas2satellite --epochs 3 3 --keep_going         # photographs, with a judge
    python -m experiments.compare --data atlas2satellite --epochs 3 3 --recorded           # the runs so far

On drawings size and length are those of the scripts with --demo. `experiments.methods.STUDIES` has the methods of each
data set and their flags. Runs lie in checkpoints/compare and results/compare; one that is finished is not run again,
one that was interrupted goes on, and one of other settings is refused. The first seed of every method comes before the
second. Methods and seeds may be divided among several calls at the same time.
"""

import shlex
import sys
from collections.abc import Sequence

import torch

from benchmarks.measure import MIB, median_seconds, peak_memory
from benchmarks.report import describe_machine, lines, table, use_device, write_json
from benchmarks.step import build_ours
from util.errors import UserError, run_program
from util.words import counted

from .comparison import CompareFlags, command_line
from .montage import montage
from .runs import parameters, run, translations
from .tables import in_print, rows_of


def main(argv: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, and print the table of all runs."""
    flags = command_line(argv)
    device = use_device(flags.device, flags.threads)
    failed = [] if flags.recorded else run_all(flags, device)
    failure = f"{counted(len(failed), 'run')} failed and said why: {', '.join(failed)}"
    if len(failed) == len(flags.methods) * len(flags.seeds):
        raise UserError(failure)
    rows = rows_of(flags, failed)
    machine = describe_machine(device)
    if flags.measure:
        costs = measured(flags, device)
        rows = [{**row, **costs.get(str(row["method"]), dict.fromkeys(next(iter(costs.values()))))} for row in rows]
    print(lines(machine))
    print(f"\n{table([in_print(row) for row in rows], markdown=flags.markdown)}")
    if flags.json:
        write_json(flags.json, {
            "benchmark": "compare", "machine": machine, "dataroot": str(flags.images), "size": flags.size,
            "max_dataset_size": flags.max_dataset_size, "epochs": flags.epochs, "seeds": flags.seeds,
            "common": flags.study.common, "extra": flags.extra,
            "methods": {method: flags.study.methods[method] for method in flags.methods}, "rows": rows})
    if flags.picture:
        montage({method: translations(f"{method}-{flags.seeds[0]}", flags) for method in flags.methods}).save(
            flags.picture)
    if failed:
        raise UserError(failure)


def run_all(flags: CompareFlags, device: torch.device) -> list[str]:
    """Make the runs that are missing; return the names of the runs that failed, with ``--keep_going``."""
    failed = []
    for seed in flags.seeds:
        for method in flags.methods:
            try:
                run(method, seed, flags, device)
            except UserError as error:
                if not flags.keep_going:
                    raise
                print(f"{method}-{seed}: {error}", file=sys.stderr, flush=True)
                failed.append(f"{method}-{seed}")
    return failed


def measured(flags: CompareFlags, device: torch.device) -> dict[str, dict[str, float]]:
    """Return the seconds of a step, millions of trained parameters and MiB at the peak for each method."""
    size = f"--load_size {flags.size} --crop_size {flags.size}"  # of the noise that steps are timed on
    typed = {method: tuple(shlex.split(f"{flags.training(method)} {size}")) for method in flags.methods}
    steps = {method: build_ours(of, device) for method, of in typed.items()}
    seconds = median_seconds(steps, device, rounds=flags.rounds)
    return {method: {
        "seconds a step": seconds[method], "M parameters": parameters(of) / 1e6,
        "peak MiB": peak_memory(build_ours, of, device, device=device) / MIB} for method, of in typed.items()}


if __name__ == "__main__":
    run_program("experiments.compare", main)
