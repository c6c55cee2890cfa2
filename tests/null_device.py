"""A CUDA device that computes nothing, see null_cuda/README.md. Run a command on it:

    python tests/null_device.py python train.py --dataroot datasets/lineart2color --max_iters 8
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import torch

SOURCES = Path(__file__).resolve().parent / "null_cuda"
SITE = Path(sysconfig.get_paths()["purelib"])
INCLUDE = [*sorted(SITE.glob("nvidia/*/include")), *sorted(Path("/usr/local").glob("cuda*/include"))]


def obstacle() -> str:
    """Say why the device cannot be built here; empty if it can."""
    version = torch.version.cuda or "none"
    if not version.startswith("13."):
        return f"the null device needs torch built for CUDA 13, and this one is built for {version}"
    if shutil.which("gcc") is None:
        return "the null device needs gcc"
    if missing := [name for name in ("cuda_runtime_api.h", "cudnn.h")
                   if not any((folder / name).is_file() for folder in INCLUDE)]:
        return f"the null device needs {missing[0]}, which torch's packages for CUDA bring"
    return ""


def build(folder: Path) -> dict[str, str]:
    """Compile the device into ``folder``; return the environment of processes that have it."""
    preloaded, driver = folder / "libnull.so", folder / "libcuda.so.1"
    include = [f"-I{path}" for path in INCLUDE]
    compiler = ["gcc", "-O2", "-w", "-shared", "-fPIC"]
    parts = [str(SOURCES / name) for name in ("runtime.c", "libraries.c", "launches.c")]
    subprocess.run([*compiler, *include, *parts, "-o", str(preloaded), "-lpthread"], check=True)
    subprocess.run([*compiler, str(SOURCES / "driver.c"), "-o", str(driver), f"-Wl,-soname,{driver.name}", "-ldl"],
                   check=True)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))
    return {**os.environ, "LD_PRELOAD": str(preloaded), "LD_LIBRARY_PATH": path, "OMP_NUM_THREADS": "1"}


def counters() -> ctypes.CDLL | None:
    """Return the counters of the device in this process: ``null_reset``, ``null_launches``, ``null_waits``,
    ``null_pageable_copies``, ``null_nodes`` of the last capture, ``null_violation`` (bytes). None on other devices."""
    symbols = ctypes.CDLL(None)
    if not hasattr(symbols, "null_launches"):
        return None
    symbols.null_launches.restype = ctypes.c_long
    symbols.null_violation.restype = ctypes.c_char_p
    return symbols


def main() -> None:
    """Build the device in a temporary folder and run the command on it."""
    if reason := obstacle():
        sys.exit(f"{Path(__file__).name}: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(subprocess.run(sys.argv[1:], env=build(Path(folder)), check=False).returncode)


if __name__ == "__main__":
    main()
