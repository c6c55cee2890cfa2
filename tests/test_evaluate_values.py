"""Scores of files of more than 8 bits and many channels, in subfolders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from cli import run

from util.errors import UserError
from util.images import load_picture
from util.outputs import save_tiff


def save_values(folder: Path, seed: int, *, channels: int = 1, shift: float = 0) -> None:
    """Save two images of 0 to 4095 in the subfolders of two patients."""
    for patient in (1, 2):
        rng = np.random.default_rng([seed, patient])
        values = (rng.random((40, 40, channels)) * 3000 + 500 + shift).astype(np.uint16)
        (folder / f"p{patient}").mkdir(parents=True)
        with (folder / f"p{patient}" / "slice.tif").open("wb") as file:
            save_tiff(values.squeeze(), file)


def metrics(root: Path, *flags: object) -> dict[str, float]:
    outcome = run("evaluate.py", "metrics", "--outputs", root / "out", "--real", root / "real", "--truth",
                  root / "truth", "--metrics", "psnr,frechet", "--layer", "relu1_2", "--vgg_weights", "random",
                  "--bootstrap", "0", "--gpu_ids", "-1", "--cache_dir", root / "cache", "--json", root / "scores.json",
                  *flags)
    assert outcome.code == 0, outcome.err
    scores: dict[str, float] = json.loads((root / "scores.json").read_text())
    return scores


def test_values_are_scored_in_their_range(tmp_path: Path) -> None:
    save_values(tmp_path / "out", 0, shift=409.5)
    save_values(tmp_path / "truth", 0)
    save_values(tmp_path / "real", 1)
    for value_range, width in (("0,4095", 4095), ("0,65535", 65535), (None, 65535)):
        found = metrics(tmp_path, *(("--range_B", value_range) if value_range else ()))
        assert found["psnr_outputs"] == pytest.approx(20 * np.log10(width / 409.5), rel=1e-3)
    assert found["images_outputs"] == found["images_real"] == 2


def test_bands_choose_what_is_scored(tmp_path: Path) -> None:
    for name, seed in (("out", 0), ("truth", 0), ("real", 1)):
        save_values(tmp_path / name, seed, channels=5, shift=819 * (name == "out"))
    path = tmp_path / "out" / "p1" / "slice.tif"
    values = torch.from_numpy(tifffile.imread(path).astype(np.float32)).permute(2, 0, 1) / 65535 * 2 - 1
    torch.testing.assert_close(load_picture(path, bands=(5, 3, 1), flag=""), values[[4, 2, 0]])
    torch.testing.assert_close(load_picture(path, flag=""), values[:3])
    found = metrics(tmp_path, "--rgb_bands", "5,3,1", "--range_B", "0,8190")
    assert found["psnr_outputs"] == pytest.approx(20, rel=1e-3)
    with pytest.raises(UserError, match=r"--rgb_bands 6,1,1: .* has 5 channels"):
        load_picture(path, bands=(6, 1, 1), flag="")
