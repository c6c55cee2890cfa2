"""PatchNCE: each patch of a translation must recognise the input's patch at its own place.

T. Park, A. A. Efros, R. Zhang, J.-Y. Zhu: "Contrastive Learning for Unpaired Image-to-Image Translation", ECCV 2020,
arXiv 2007.15651. This file needs only torch, so it can be copied into any project.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def patch_nce(queries: Tensor, keys: Tensor, *, temperature: float = 0.07) -> Tensor:
    """Compute the cross-entropy of recognising, among the keys of an image, the key at a query's place (equation 4).

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
    with torch.autocast(queries.device.type, enabled=False):  # half precision loses small differences
        logits = unit_rows(queries) @ unit_rows(keys.detach()).mT / temperature  # [B, N, N]
        return F.cross_entropy(logits.flatten(0, 1), own_place(queries))


def own_place(rows: Tensor) -> Tensor:
    """Return the answers 0 ... N - 1 for each image of [B, N, C]: [B * N]."""
    batch, count, _ = rows.shape
    return torch.arange(count, device=rows.device).repeat(batch)


def unit_rows(rows: Tensor) -> Tensor:
    """Normalise [B, N, C] over C (L2); in float32 or, for float64 rows, float64."""
    return F.normalize(rows if rows.dtype == torch.float64 else rows.float(), dim=2)


class PatchNCELoss(nn.Module):
    """A contrast over several layers of an encoder's features, through a learned head a layer; the layers' mean.

    The heads have two linear layers. They learn with the generator, by the same loss.

    Args:
        channels: the layers' channels.
        width: channels of a head's hidden layer and of its output.
        patch_count: places drawn at each call, the same for all images; a smaller map gives all it has.
        contrast: the loss of queries and keys.
        by_entropy: in the layers of the smallest maps, choose places by `attention_rows` and compare what they attend
            to (X. Hu et al.: "QS-Attn: Query-Selected Attention for Contrastive Learning in I2I Translation", CVPR
            2022, arXiv 2203.08483). Larger maps have too many pairs of places.
    """

    def __init__(
        self, channels: Sequence[int], *, width: int = 256, patch_count: int = 256,
        contrast: Callable[[Tensor, Tensor], Tensor] = patch_nce, by_entropy: bool = False,
    ) -> None:
        super().__init__()
        self.patch_count, self.contrast, self.by_entropy = patch_count, contrast, by_entropy
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(count, width), nn.ReLU(), nn.Linear(width, width)) for count in channels)

    def forward(
        self, target: Sequence[Tensor], source: Sequence[Tensor], positions: Sequence[Tensor] | None = None
    ) -> Tensor:
        """Compute the contrast of a translation's patches with those of its input.

        Args:
            target, source: the layers' features, each [B, C, H, W], of the translation and of the input. No gradient
                reaches the source.
            positions: for each layer LongTensor [N] of flat row-major places, instead of random ones.
        """
        return mean_over_layers(self.contrast, self.rows(target, source, positions))

    def rows(
        self, target: Sequence[Tensor], source: Sequence[Tensor], positions: Sequence[Tensor] | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Return queries and keys of each layer, [B, N, width] each; arguments as those of `forward`."""
        smallest = min(features[0, 0].numel() for features in source)
        layers = []
        for number, (head, of_target, of_source) in enumerate(zip(self.heads, target, source, strict=True)):
            size = of_source[0, 0].numel()
            if self.by_entropy and size == smallest:
                with torch.no_grad():
                    attention = attention_rows(of_source, self.patch_count)
                queries, keys = (attend(attention, features) for features in (of_target, of_source))
            else:
                places = positions[number] if positions is not None else (
                    random_places(size, self.patch_count, of_source.device))
                queries, keys = rows_at(of_target, places), rows_at(of_source, places)
            with torch.no_grad():
                known = head(keys)
            layers.append((head(queries), known))
        return layers


def mean_over_layers(loss: Callable[[Tensor, Tensor], Tensor], layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Compute the mean of a loss of queries and keys over layers."""
    return torch.stack([loss(queries, keys) for queries, keys in layers]).mean()


def random_places(size: int, count: int, device: torch.device) -> Tensor:
    """Draw ``count`` of ``size`` places, or all of them, without replacement: LongTensor [N]."""
    if device.type == "cuda":  # the same distribution, by three kernels instead of seventeen
        return torch.rand(size, device=device).topk(min(count, size)).indices
    return torch.randperm(size, device=device)[:count]


def rows_at(features: Tensor, positions: Tensor) -> Tensor:
    """Take the features at some places: [B, C, H, W] and LongTensor [N] to [B, N, C]."""
    return features.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, positions)  # copies none whose channels are last


def attention_rows(features: Tensor, count: int, *, chunk: int = 1024) -> Tensor:
    """Compute the self-attention of the places that attend to the fewest others, by the entropy of their attention.

    Attention is the softmax of the products of a place's features with those of every place.

    Args:
        features: [B, C, H, W].
        count: number of places; a smaller map gives all it has.
        chunk: places whose attention is in memory at a time.

    Returns:
        [B, N, H * W], each row sums to 1; for each image the rows of lowest entropy, lowest first.
    """
    with torch.autocast(features.device.type, enabled=False):
        rows = features.flatten(2).mT if features.dtype == torch.float64 else features.flatten(2).mT.float()
        places = lowest_entropy(rows, count, chunk=chunk)
        chosen = rows.gather(1, places[:, :, None].expand(-1, -1, rows.shape[2]))
        return (chosen @ rows.mT).softmax(dim=2)


def lowest_entropy(rows: Tensor, count: int, *, chunk: int = 1024) -> Tensor:
    """Find the places whose attention, the softmax of the products of rows with all rows, has the lowest entropy.

    Args:
        rows: [B, M, C], of the M places of an image.
        count: number of places, at most M of which there are.
        chunk: places whose attention is in memory at a time.

    Returns:
        LongTensor [B, N], lowest entropy first.
    """
    entropies = []
    for part in rows.split(chunk, dim=1):
        logs = (part @ rows.mT).log_softmax(dim=2)
        entropies.append(-(logs.exp() * logs).sum(dim=2))
    entropy = torch.cat(entropies, dim=1)  # [B, M]
    return entropy.topk(min(count, entropy.shape[1]), dim=1, largest=False).indices


def attend(attention: Tensor, features: Tensor) -> Tensor:
    """Average features by rows [B, N, H * W] of attention: [B, C, H, W] to [B, N, C]."""
    return attention @ features.flatten(2).mT.to(attention)
