"""PatchNCE: each patch of a translation must recognise the input's patch at its own place.

T. Park, A. A. Efros, R. Zhang, J.-Y. Zhu: "Contrastive Learning for Unpaired Image-to-Image Translation", ECCV 2020,
arXiv 2007.15651. This file needs torch alone, so it can be copied into any project.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def patch_nce(queries: Tensor, keys: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Cross-entropy of recognising, among all keys of its image, the key at a query's own place (equation 4).

    Rows are L2-normalised. The logits of query i are its products with the image's N keys, divided by the
    temperature; the answer is i. Only queries carry a gradient.

    Args:
        queries: [B, N, C], of the translation.
        keys: [B, N, C], of the input, at the same places.
        temperature: tau.

    Returns:
        Scalar, averaged over B and N; in float32 or, for float64 rows, float64.

    Raises:
        ValueError: queries and keys differ in shape.
    """
    if queries.shape != keys.shape:
        raise ValueError(f"queries {list(queries.shape)} and keys {list(keys.shape)} differ in shape")
    batch, count, _ = queries.shape
    with torch.autocast(queries.device.type, enabled=False):  # half precision loses small differences
        queries, keys = (rows if rows.dtype == torch.float64 else rows.float() for rows in (queries, keys.detach()))
        logits = F.normalize(queries, dim=2) @ F.normalize(keys, dim=2).mT / temperature  # [B, N, N]
        answers = torch.arange(count, device=queries.device).repeat(batch)
        return F.cross_entropy(logits.flatten(0, 1), answers)


class PatchNCELoss(nn.Module):
    """`patch_nce` over several layers of an encoder's features, through a learned head a layer; the layers' mean.

    The heads have two linear layers. They learn with the generator, by the same loss.

    Args:
        channels: the layers' channels.
        width: channels of a head's hidden layer and of its output.
        patch_count: places drawn anew at each call, the same for all images; a smaller map gives all it has.
        temperature: see `patch_nce`.
    """

    def __init__(
        self, channels: Sequence[int], *, width: int = 256, patch_count: int = 256, temperature: float = 0.07
    ) -> None:
        super().__init__()
        self.patch_count, self.temperature = patch_count, temperature
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width)) for count in channels)

    def forward(
        self, target: Sequence[Tensor], source: Sequence[Tensor], positions: Sequence[Tensor] | None = None
    ) -> Tensor:
        """InfoNCE of a translation's patches against those of its input.

        Args:
            target, source: the layers' features, each [B, C, H, W], of the translation and of the input. No gradient
                reaches the source.
            positions: for each layer LongTensor [N] of flat row-major places, instead of random ones.
        """
        if positions is None:
            positions = [torch.randperm(f.shape[2] * f.shape[3], device=f.device)[: self.patch_count] for f in source]
        losses = []
        for head, queries, keys, places in zip(self.heads, target, source, positions, strict=True):
            with torch.no_grad():
                known = head(rows_at(keys, places))
            losses.append(patch_nce(head(rows_at(queries, places)), known, temperature=self.temperature))
        return torch.stack(losses).mean()


def rows_at(features: Tensor, positions: Tensor) -> Tensor:
    """The features at some places: [B, C, H, W] and LongTensor [N] to [B, N, C]."""
    return features.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, positions)  # copies none whose channels are last
