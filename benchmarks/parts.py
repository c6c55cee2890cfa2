"""What each change of the training step brings: parts of it, computed the plain way and ours.

    python -m benchmarks.parts                                            # every part that suits the machine
    python -m benchmarks.parts --rows VGG16,heads --batch_size 4 --json parts.json

The ways of one part are steps from the published way to ours, each on top of the one before; they take turns on the
same numbers. A part is computed as the step does it: forward, and backward to whatever needs a gradient. torch is set
up as it comes, which on recent GPUs lets convolutions use TF32. Augmentation is a subject of benchmarks.data.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

import torch

from util.arguments import positive
from util.errors import UserError, run_program

from .measure import count_flops, median_seconds
from .report import Row, benchmark_parser, describe_machine, lines, table, use_device, write_json
from .step import PUBLISHED
from .ways import ONLY_ON, PARTS, Setting


def main(argv: Sequence[str] | None = None) -> None:
    """Measure the parts that were asked for and print them."""
    parser = benchmark_parser("parts", "Time parts of the training step, the plain way and ours, change by change.",
                              rounds=5)
    parser.add_argument("--size", type=positive, default=256, help="side of the images in pixels (default 256)")
    parser.add_argument("--batch_size", type=positive, default=1, help="images in a batch (default 1)")
    parser.add_argument("--filters", type=positive, default=64, help="of G's and D's first layer (default 64)")
    parser.add_argument("--rows", default="*", metavar="PATTERNS", help="parts by name, with wildcards and commas: "
                        f"{', '.join(PARTS)} (default: all that suit the device)")
    arguments = parser.parse_args(argv)
    device = use_device(arguments.device, arguments.threads)
    setting = Setting(arguments.size, arguments.batch_size, arguments.filters, device)
    parts = choose_parts(arguments.rows, device)
    machine = describe_machine(device)
    print(lines(machine), flush=True)
    rows = [row for part in parts for row in measure_part(part, setting, rounds=arguments.rounds)]
    print(f"\n{table(rows, markdown=arguments.markdown)}")
    if arguments.json:
        write_json(arguments.json, {"benchmark": "parts", "machine": machine, "rounds": arguments.rounds,
                                    "size": setting.size, "batch": setting.batch, "rows": rows})


def choose_parts(patterns: str, device: torch.device) -> list[str]:
    """The parts whose names fit a pattern; wildcards find those alone that suit the device.

    Raises:
        UserError: none fits.
    """
    wanted = patterns.split(",")
    chosen = [part for part in PARTS if part in wanted or (
        ONLY_ON.get(part, device.type) == device.type and any(fnmatch(part, pattern) for pattern in wanted))]
    if not chosen:
        raise UserError(f"--rows {patterns} fits no part; there are {', '.join(PARTS)}")
    return chosen


def measure_part(part: str, setting: Setting, *, rounds: int) -> list[Row]:
    """A row for each way; ``times faster`` than the plain one, and ``than above``."""
    PUBLISHED.apply()
    ways = PARTS[part](setting)
    flops = {name: count_flops(way) for name, way in ways.items()}  # these calls are the warm-up, too
    calls = 10 if setting.device.type == "cuda" else 1
    seconds = median_seconds(ways, setting.device, rounds=rounds, warmup=0, calls=calls)
    times = list(seconds.values())
    return [{
        "part": part, "way": name, "ms": 1000 * time, "times faster": times[0] / time,
        "than above": times[number - 1] / time if number else None, "GFLOP": flops[name] / 1e9 or None,
    } for number, (name, time) in enumerate(seconds.items())]


if __name__ == "__main__":
    run_program("benchmarks.parts", main)
