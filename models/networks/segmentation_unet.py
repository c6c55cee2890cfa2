"""A small U-Net that labels pixels (Ronneberger et al., 2015)."""

import torch
from torch import Tensor, nn


class SegmentationUNet(nn.Module):
    """Scores of the classes of each pixel: images [B, 3, H, W] in [-1, 1] -> [B, classes, H, W].

    Args:
        classes: number of classes.
        widths: channels of each level, from the full resolution down; each level halves the sides.
    """

    def __init__(self, classes: int, widths: tuple[int, ...] = (8, 16, 32, 64, 64)) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(*of) for of in zip((3, *widths), widths, strict=False))
        self.up = nn.ModuleList(_block(below + level, level) for below, level in zip(widths[1:], widths, strict=False))
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of the way up, from the deepest level to the one that is classified, [B, C, H, W]."""
        maps = []
        for number, block in enumerate(self.down):
            images = block(nn.functional.max_pool2d(images, 2, ceil_mode=True) if number else images)
            maps.append(images)
        found = [maps.pop()]
        for block in reversed(self.up):
            level = maps.pop()
            raised = nn.functional.interpolate(found[-1], level.shape[2:], mode="bilinear", align_corners=False)
            found.append(block(torch.cat([raised, level], dim=1)))
        return found

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(images)[-1])
        return scores


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*(layer for channels in (inputs, outputs) for layer in (
        nn.Conv2d(channels, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())))
