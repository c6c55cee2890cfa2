"""--query_by of the spatially-correlative loss, against loops over positions in double precision."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from steps import batch, build_model
from tiny import METHODS, NETWORKS, SIZES, train_step
from torch import Tensor

from spatial_correlative import contrastive_loss, self_similarity, structure_distance


def places(features: Tensor, count: int, temperature: float) -> Tensor:
    """Find the positions whose attention has the lowest entropy, for each image."""
    chosen = []
    for image in features.flatten(2).mT:
        rows = [row / row.norm() for row in image]
        entropies = []
        for row in rows:
            weights = [math.exp(float(row @ other) / temperature) for other in rows]
            shares = [weight / sum(weights) for weight in weights]
            entropies.append(-sum(share * math.log(share) for share in shares))
        chosen.append(sorted(range(len(rows)), key=entropies.__getitem__)[:count])
    return torch.tensor(chosen)


@pytest.mark.parametrize(("method", "flags"), [
    pytest.param("FSeSim", "", marks=pytest.mark.slow), ("LSeSim", ""), ("FSeSim", "--loss_mode info --T 0.2"),
])
def test_the_generators_queries_attend_to_the_fewest_positions(tmp_path: Path, method: str, flags: str) -> None:
    model = build_model(tmp_path, f"--query_by entropy --init_gain 0.5 {flags}",
                        defaults=(NETWORKS, SIZES, METHODS[method]), double=True)
    generator, images = copy.deepcopy(model.networks["G"]), batch(3, 2, dtype=torch.float64)
    losses = train_step(model, [images])
    with torch.no_grad():
        seen = [model.structure.vgg(image) for image in (images["A"], generator(images["A"]), images["B"].flip(2, 3))]
        distances = []
        for number, layers in enumerate(zip(*seen, strict=True)):
            head = model.structure.loss.heads[number] if method == "LSeSim" else torch.nn.Identity()  # after its step
            where = places(layers[0], 8, model.structure.flags.T)
            maps = [self_similarity(head(of), where, patch_size=4) for of in layers]
            distances.append(contrastive_loss(*maps, temperature=0.2) if "info" in flags else
                             structure_distance(*maps[:2]))
    assert losses["G_spatial"].item() == pytest.approx(10 * float(sum(distances)) / 2, rel=1e-6)


def test_with_all_positions_there_is_nothing_to_choose(tmp_path: Path) -> None:
    found = []
    for way in ("random", "entropy"):
        torch.manual_seed(0)
        flags = f"--query_by {way} --patch_nums inf"
        model = build_model(tmp_path, flags, defaults=(NETWORKS, SIZES, METHODS["FSeSim"]))
        found.append(train_step(model, [batch()])["G_spatial"])
    assert torch.equal(*found)
