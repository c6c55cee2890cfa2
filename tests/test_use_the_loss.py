"""docs/use_the_loss.md and examples/minimal.py: what people copy runs as it stands."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli import ROOT, run_process

PAGE = (ROOT / "docs" / "use_the_loss.md").read_text(encoding="utf-8")
INSTALLED, FIXED, LEARNED, HUB, FEATURES, FIXED_FEATURES, LEARNED_FEATURES, TWO_LOSSES, POSITIONS = re.findall(
    r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
EXAMPLE = ROOT / "examples" / "minimal.py"
YOURS = """
import torch
from torch import nn
torch.manual_seed(0)
photos, paintings = [[torch.rand(2, 3, 64, 48) * 2 - 1] for _ in range(2)]
generator = nn.Conv2d(3, 3, 3, padding=1)
adversarial_loss = lambda translation: translation.square().mean()
optimizer = torch.optim.Adam(generator.parameters())
before = generator.weight.clone()
"""
SEEN = """
assert not torch.equal(before, generator.weight), "the generator has not learned"
assert 0 < (loss - adversarial_loss(translation)).item() < 20
before = generator.weight.clone()
"""


def test_the_loops_of_images_train() -> None:
    names: dict[str, Any] = {}
    exec("\n".join([YOURS, INSTALLED, "heads = learned.heads[1][2].weight.clone()", FIXED, SEEN, LEARNED, SEEN]), names)
    assert not names["heads"].equal(names["learned"].heads[1][2].weight)


def test_the_loops_of_features_train_with_a_copy_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "spatial_correlative" / "loss.py", tmp_path / "spatial_correlative.py")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "spatial_correlative"]:
        monkeypatch.delitem(sys.modules, name)
    (one_loss,) = re.findall(r"^ +head_loss = .*\n", LEARNED_FEATURES, flags=re.MULTILINE)
    (jitter,) = re.findall(r"^jitter = .*", INSTALLED, flags=re.MULTILINE)
    assert 'weights="IMAGENET1K_V1"' in FEATURES
    features = FEATURES.replace('weights="IMAGENET1K_V1"', "weights=None")  # no download
    two_losses = LEARNED_FEATURES.replace(one_loss, TWO_LOSSES)
    names: dict[str, Any] = {}
    exec("\n".join([features, YOURS, FIXED_FEATURES, SEEN, "from torchvision.transforms import ColorJitter", jitter,
                    LEARNED_FEATURES, SEEN, two_losses, SEEN, POSITIONS]), names)
    assert Path(sys.modules["spatial_correlative"].__file__).parent == tmp_path
    assert names["structure"].heads[1][2].weight.grad.abs().sum() > 0
    assert names["of_each"].shape == (2, 48)
    assert all(distance.isfinite() for distance in names["distances"])


def test_the_line_of_torch_hub_loads_the_loss_with_its_arguments() -> None:
    names = {"torch": torch}
    exec(HUB.replace("/path/to/this/repository", str(ROOT)), names)
    assert names["structure"].loss.patch_size == 32


@pytest.mark.slow
def test_the_example_runs_from_any_folder(tmp_path: Path) -> None:
    outcome = run_process(EXAMPLE, cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    losses = [float(value) for value in re.findall(r"structure (\d+\.\d+)", outcome.out)]
    assert len(losses) == 20
    assert max(losses[1:]) < 0.1, "the translations have lost the structure of the drawings"
