"""A training of several processes, run by torchrun for test_numbers.py, whose second process gets a spoilt batch."""

from __future__ import annotations

import math
import os
import sys
from typing import Any

import torch

import train
from training import loop
from util.errors import run_program

count = 0
finish = loop.finish


def finished(images: dict[str, Any]) -> dict[str, Any]:
    global count  # noqa: PLW0603 - of this process's batches
    count += 1
    done = finish(images)
    if os.environ["RANK"] == "1" and count == 2:
        done["A"] = torch.full_like(done["A"], math.nan)
        sys.stderr.write(f"spoilt {done['A_paths'][0]}\n")
    return done


if __name__ == "__main__":
    loop.finish = finished
    run_program("train.py", train.main)
