"""What is to be scored, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from metrics.scores import METRICS, PAIR_METRICS, SET_METRICS
from metrics.watch import Watch, unwatched
from util.errors import UserError


@dataclass(frozen=True)
class Request:
    """What is to be scored, and how."""

    outputs: Path
    """Folder of translations."""
    real: Path
    """Folder of real images of the target domain."""
    inputs: Path | None = None
    """Folder of what was translated, under the same names: scored too, for comparison."""
    truth: Path | None = None
    """Folder of true counterparts, under the same names: without it there are no paired scores."""
    styles: Sequence[Path] = ()
    """Folders of the outputs in further styles. Each image is scored in one style, all of which take turns: a model
    of several styles is judged by all of them, and as many images as of any other model."""
    paired: bool = False
    """The real images are the true counterparts, one for each translation."""
    metrics: Sequence[str] | None = None
    """Of `METRICS`. `None`: those whose weights and counterparts are given or bundled; then what does not suit the
    images (too few, too small) is left out with a warning, and is no error."""
    layer: str = "relu4_3"
    weights: str = "bundled"
    resize: str = "clean"
    """How images come to Inception's size, a name of `evaluation.inception.RESIZERS`."""
    inception_weights: Path | None = None
    lpips_net: str = "alex"
    lpips_weights: Path | None = None
    device: torch.device | str = "cpu"
    batch_size: int = 16
    bootstrap: int = 100
    """How often images are drawn anew for the confidence intervals; 0: there are none."""
    seed: int = 0
    cache: Path | None = None
    """Folder in which features of real images and of inputs are kept; `None`: they are not."""
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """Further entries for the result, such as how the outputs were made."""
    watch: Watch = unwatched
    """Shows how far a pass over images has come."""

    @property
    def chosen(self) -> tuple[str, ...]:
        """The metrics to compute, in the order of `METRICS`.

        Raises:
            UserError: there is no such metric, or it needs true counterparts.
        """
        with_truth = (*PAIR_METRICS, "lpips")
        if self.metrics is None:
            through_inception = [name for name, of in SET_METRICS.items() if of.network == "inception"]
            left_out = {
                *(() if self.truth or self.paired else with_truth),
                *(() if self.inception_weights else through_inception),
                *(() if self.lpips_weights else ("lpips",)),
            }
            return tuple(name for name in METRICS if name not in left_out)
        for name in self.metrics:
            if name not in METRICS:
                raise UserError(f"--metrics: there is no '{name}'; choose from {', '.join(METRICS)}")
            if name in with_truth and not (self.truth or self.paired):
                raise UserError(f"--metrics {name} compares images with their true counterparts: name their folder "
                                "with --truth")
        return tuple(name for name in METRICS if name in self.metrics)
