"""The spatially-correlative loss in a training loop of one's own: seconds on a CPU, with the bundled drawings.

    python examples/minimal.py
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from spatial_correlative import SpatialCorrelativeLoss, VGG16Features
from util.images import load_normalized


def batch(folder: str, step: int) -> Tensor:
    paths = sorted((ROOT / "datasets" / "lineart2color" / folder).iterdir())
    return torch.stack([load_normalized(path, 3) for path in paths[4 * step:4 * step + 4]])  # [4, 3, H, W] in [-1, 1]


torch.manual_seed(0)
generator = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.ReLU(), nn.Conv2d(16, 3, 5, padding=2), nn.Tanh())
critic = nn.Sequential(nn.Conv2d(3, 16, 4, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 4, stride=2))
features = VGG16Features(["relu3_1", "relu4_1"])  # any frozen network: images -> a list of [B, C, h, w]
structure = SpatialCorrelativeLoss(patch_count=64, patch_size=16)
optimizers = [torch.optim.Adam(network.parameters(), lr=0.002, betas=(0.5, 0.999)) for network in (generator, critic)]

for step in range(20):
    drawings, pictures = batch("trainA", step), batch("trainB", step)
    fakes = generator(drawings)
    judged = (critic(pictures) - 1).square().mean() + critic(fakes.detach()).square().mean()
    with torch.no_grad():
        source = features(drawings)
    distance = structure(source, features(fakes))
    for optimizer, loss in zip(optimizers, ((critic(fakes) - 1).square().mean() + 10 * distance, judged), strict=True):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"step {step}: structure {distance.item():.3f}, critic {judged.item():.3f}")
