"""docs/use_the_loss.md and examples/minimal.py: what people copy runs as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli import ROOT, run_process

PAGE = (ROOT / "docs" / "use_the_loss.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "examples" / "minimal.py"
YOURS = """
torch.manual_seed(0)
photos, paintings = [[torch.rand(2, 3, 64, 48) * 2 - 1] for _ in range(2)]
generator = nn.Conv2d(3, 3, 3, padding=1)
adversarial_loss = lambda translation: translation.square().mean()
optimizer = torch.optim.Adam(generator.parameters())
before = generator.weight.clone()
"""
SEEN = """
assert not torch.equal(before, generator.weight), "the generator has not learned"
assert 0 < structure(source, features(translation)).item() < 2
before = generator.weight.clone()
"""


def test_the_loops_of_the_page_train_beside_a_copy_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "models" / "losses" / "spatial_correlative.py", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    setup, fixed, learned, two_losses = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (one_loss,) = re.findall(r"^ +head_loss = .*\n", learned, flags=re.MULTILINE)
    assert 'weights="IMAGENET1K_V1"' in setup
    setup = setup.replace('weights="IMAGENET1K_V1"', "weights=None")  # no download
    names: dict[str, Any] = {}
    exec("\n".join([setup, YOURS, fixed, SEEN, learned, SEEN, learned.replace(one_loss, two_losses), SEEN]), names)
    assert names["structure"].heads[1][2].weight.grad.abs().sum() > 0


@pytest.mark.slow
def test_the_example_runs_from_any_folder(tmp_path: Path) -> None:
    outcome = run_process(EXAMPLE, cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    losses = [float(value) for value in re.findall(r"structure (\d+\.\d+)", outcome.out)]
    assert len(losses) == 20
    assert max(losses[1:]) < 0.1, "the translations have lost the structure of the drawings"
