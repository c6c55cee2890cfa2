"""Spatially-correlative losses: structure as the pattern of an image's similarity to itself.

C. Zheng, T.-J. Cham, J. Cai: "The Spatially-Correlative Loss for Various Image Translation Tasks",
CVPR 2021, arXiv 2104.00854. This file needs only torch, so it can be copied into any project. It follows the paper:

    self_similarity             S, the similarity of a query position to the positions around it (section 3.1)
    structure_distance          FSeSim: compares S of an image with S of its translation (equation 3)
    contrastive_loss            LSeSim: trains the features of S (equation 5)
    SpatialCorrelativeLoss      both, for several layers of features

FSeSim compares self-similarity maps of fixed features, such as VGG16's relu3_1 and relu4_1. In a training loop:

    features = MyVGG16(layers=["relu3_1", "relu4_1"])          # image -> list of [B, C, H, W], frozen
    structure = SpatialCorrelativeLoss(patch_count=256, patch_size=64)
    for photo in photos:                                        # [B, 3, H, W]
        painting = generator(photo)
        with torch.no_grad():
            source = features(photo)
        loss = adversarial(painting) + 10 * structure(source, features(painting))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

LSeSim first passes the features through learned heads, two 1x1 convolutions for each layer. Create the loss with
``head_channels=(256, 512)``, and give ``structure.heads`` an optimizer. Before each generator step, minimise
``structure.contrast(features(photo), features(jittered_photo), features(other_painting))``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Mode = Literal["cos", "l1"]
Reduction = Literal["mean", "none"]


def sample_positions(
    height: int, width: int, count: int, *, generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw query positions without replacement.

    Args:
        height, width: size of the feature map.
        count: number of positions; if the map has fewer, all of them in random order.
        generator: source of randomness, on ``device``; by default the device's global one.
        device: device of the positions.

    Returns:
        LongTensor [N] of flat row-major positions, ``y = i // width``, ``x = i % width``.

    Raises:
        ValueError: ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    size = height * width
    if device is not None and torch.device(device).type == "cuda":  # the same distribution, by fewer kernels
        return _random_rows(1, size, count, device, generator)[0]
    return torch.randperm(size, generator=generator, device=device)[:count]


def window_positions(positions: Tensor, height: int, width: int, patch_size: int) -> Tensor:
    """Return the positions of the window around each query, moved inside the map where it would stick out.

    Args:
        positions: LongTensor [N] or [B, N] of flat row-major query positions.
        height, width: size of the feature map; both at least ``patch_size``.
        patch_size: side p of the window.

    Returns:
        LongTensor [N, p * p] or [B, N, p * p] of flat positions, row-major inside each window.
    """
    top = (positions // width - patch_size // 2).clamp(0, height - patch_size)  # [N] or [B, N]
    left = (positions % width - patch_size // 2).clamp(0, width - patch_size)
    steps = torch.arange(patch_size, device=positions.device)
    offsets = (steps[:, None] * width + steps).flatten()  # [p * p]
    return (top * width + left)[..., None] + offsets


def self_similarity(
    features: Tensor, positions: Tensor | None = None, *, patch_size: int, normalize: bool = False
) -> Tensor:
    """Compute the similarity of each query position to the positions around it, its keys (section 3.1 of the paper).

    The features are centred: minus their mean over the positions. The similarity of a query q and a key k is
    ``tanh(q . k / (10 C))``, as in the published code, or with ``normalize`` their cosine, in [-1, 1].

    Args:
        features: [B, C, H, W].
        positions: LongTensor of flat row-major queries, [N] for all images or [B, N] for each image; None: all queries
            and all keys.
        patch_size: side p of the window of keys around a query; unless it is below both H and W, all are keys.
        normalize: cosine instead of a squashed scalar product (``--use_norm``).

    Returns:
        [B, N, P] with P = p * p or H * W, in float32 or, for float64 features, float64.

    Raises:
        ValueError: ``features`` is not four-dimensional or is empty, ``patch_size`` is below 1, or ``positions`` has
            another shape or type.

    Example:
        >>> self_similarity(torch.randn(2, 256, 64, 48), torch.tensor([0, 9]), patch_size=32).shape
        torch.Size([2, 2, 1024])
    """
    _require_features("features", features)
    if patch_size < 1:
        raise ValueError(f"patch_size must be at least 1, not {patch_size}")
    batch, channels, height, width = features.shape
    if positions is not None:
        _require_positions(positions, batch)
    with _no_autocast(features):  # half precision loses small differences
        features = features if features.dtype == torch.float64 else features.float()
        # A sum instead of the mean, added instead of subtracted: two passes over all features less in backward.
        features = features + features.sum(dim=(2, 3), keepdim=True) / -(height * width)
        if normalize:
            features = F.normalize(features, dim=1)
        queries = features.flatten(2)  # [B, C, HW]
        if positions is not None:
            queries = (queries.index_select(2, positions) if positions.dim() == 1  # [B, C, N]
                       else queries.gather(2, positions[:, None].expand(-1, channels, -1)))
        if not normalize:
            queries = queries / (10 * channels)  # scale the queries: the products are many more
        # Compute all products, then select those of each window: cheaper than copying C channels of every window.
        similarity = _products(queries, features)  # [B, N, HW]
        if positions is not None and patch_size < min(height, width):
            window = window_positions(positions, height, width, patch_size)  # [N, P] or [B, N, P]
            similarity = similarity.gather(2, window.expand(batch, -1, -1))
        return similarity if normalize else torch.tanh(similarity)


def structure_cosine(source: Tensor, target: Tensor) -> Tensor:
    """Compute the cosine of two self-similarity maps at each query, at the target's strongest quarter of entries.

    In each row, only the entries count at which the target is at least its (P // 4 + 1)-th largest value, with ties.
    Gradients pass through the values, not through the selection.

    Args:
        source, target: self-similarity maps [B, N, P] at the same positions.

    Returns:
        [B, N], in [-1, 1].

    Raises:
        ValueError: maps of different shape or other than [B, N, P], or empty ones.
    """
    source, target = _strongest(source, target)
    norms = source.norm(dim=-1).clamp(min=1e-8) * target.norm(dim=-1).clamp(min=1e-8)
    cosine: Tensor = (source * target).sum(dim=-1) / norms
    return cosine


def structure_distance(
    source: Tensor, target: Tensor, *, mode: Mode = "cos", normalize: bool = False, weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Compare two self-similarity maps at the target's strongest quarter of entries (equation 3).

    The criterion is L1 for normalized maps and smooth L1 otherwise, averaged over B and N.

    Args:
        source, target: self-similarity maps [B, N, P] at the same positions.
        mode: ``cos``: criterion(1, `structure_cosine`); ``l1``: criterion of the same entries, times P / (P // 4).
        normalize: whether the maps were made with ``normalize``.
        weights: of the queries, [N] or [B, N], at least 0; None: all are 1.
        reduction: ``mean``: the mean over the queries, weighted by ``weights``; 0 if all of these are 0. ``none``: the
            distance of each query times its weight.

    Returns:
        Scalar, or [B, N] for ``none``; in [0, 2] for ``cos`` with ``normalize`` and without ``weights``.

    Raises:
        ValueError: an unknown mode or reduction, maps of different shape or other than [B, N, P], empty ones, weights
            of another shape or below 0, or fewer than four keys in mode ``l1``. Compiled code and vmap do not check
            the sign of weights.
    """
    criterion = F.l1_loss if normalize else F.smooth_l1_loss
    if mode == "cos":
        cosine = structure_cosine(source, target)  # [B, N]
        distances = criterion(cosine, torch.ones_like(cosine), reduction="none")
    elif mode == "l1":
        count = target.shape[-1]
        if count < 4:
            raise ValueError(f"mode 'l1' needs at least four keys a query, these maps have {count}")
        scale = count / (count // 4)
        source, target = _strongest(source, target)
        distances = criterion(scale * source, scale * target, reduction="none").mean(dim=2)
    else:
        raise ValueError(f"mode '{mode}' is unknown; choose one of: cos, l1")
    return _reduce(distances, weights, reduction)


def contrastive_loss(
    source: Tensor, positive: Tensor, other: Tensor, *, temperature: float = 0.07, weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Compute InfoNCE over self-similarity rows: a query must recognise itself in the positive's map (equation 5).

    Rows are L2-normalised. The logits of query i are the products of the source's row i with the positive's rows and
    with the other image's rows, and of the positive's row i with the other image's rows. The answer is i.

    Args:
        source, positive, other: self-similarity maps [B, N, P] at the same positions; the first two of one scene.
        temperature: tau; the logits are divided by it.
        weights, reduction: see `structure_distance`.

    Returns:
        Scalar cross-entropy, averaged over B and N, or [B, N] for ``none``.

    Raises:
        ValueError: maps of different shape or other than [B, N, P], empty ones, an unknown reduction, or weights of
            another shape or below 0.
    """
    _require_maps(source, positive, other)
    batch, count, _ = source.shape
    with _no_autocast(source):
        logits = (_cosines(source, positive, other) / temperature).flatten(0, 1)  # [B * N, 3 * N]
    answers = torch.arange(count, device=source.device).repeat(batch)
    return _reduce(F.cross_entropy(logits, answers, reduction="none").view(batch, count), weights, reduction)


def similarity_head(channels: int) -> nn.Sequential:
    """Build the head of a layer for LSeSim: two 1x1 convolutions, [B, C, H, W] to [B, max(32, C // 4), H, W]."""
    width = max(32, channels // 4)
    return nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))


class SpatialCorrelativeLoss(nn.Module):
    """FSeSim and, with heads, LSeSim over several layers of features; the loss is the mean over the layers.

    Args:
        patch_count: number N of query positions, drawn at each call; None: every position.
        patch_size: side of the window of keys around a query.
        mode: ``cos`` or ``l1``, see `structure_distance`.
        normalize: see `self_similarity`.
        temperature: see `contrastive_loss`.
        head_channels: the layers' channels, for LSeSim; None for FSeSim.
    """

    def __init__(
        self, *, patch_count: int | None = 256, patch_size: int = 64, mode: Mode = "cos", normalize: bool = False,
        temperature: float = 0.07, head_channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.patch_count, self.patch_size = patch_count, patch_size
        self.mode: Mode = mode
        self.normalize, self.temperature = normalize, temperature
        self.heads = nn.ModuleList(similarity_head(channels) for channels in head_channels or ())

    def forward(
        self, source: Sequence[Tensor], target: Sequence[Tensor], positions: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """Compute the structure distance between two images.

        Args:
            source, target: the layers' features, each [B, C, H, W], of an image and of its translation.
            positions: query positions [N] or [B, N] of each layer, instead of random ones; None in it: every position.

        Raises:
            ValueError: a tensor instead of a list, features that are not [B, C, H, W] or are empty, or images
                that differ in layers, batch, height or width.
        """
        _require_layers(source=source, target=target)
        positions = self.sample(source) if positions is None else positions
        distance = partial(structure_distance, mode=self.mode, normalize=self.normalize)
        return _mean_over_layers(distance, self.maps(source, positions), self.maps(target, positions))

    def contrast(
        self, source: Sequence[Tensor], positive: Sequence[Tensor], other: Sequence[Tensor],
        positions: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        """Compute the loss that trains the heads; arguments and errors as in `forward` and `contrastive_loss`."""
        _require_layers(source=source, positive=positive, other=other)
        positions = self.sample(source) if positions is None else positions
        return self.contrast_maps(*(self.maps(features, positions) for features in (source, positive, other)))

    def contrast_maps(self, source: Sequence[Tensor], positive: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        """Compute `contrast` from the layers' self-similarity maps; a map may be used in several comparisons."""
        return _mean_over_layers(partial(contrastive_loss, temperature=self.temperature), source, positive, other)

    def sample(self, features: Sequence[Tensor]) -> list[Tensor | None]:
        """Draw query positions for each layer's map; None: every position."""
        if self.patch_count is None:
            return [None] * len(features)
        if features[0].device.type == "cuda":  # by fewer kernels: the layers of one size together
            sizes = [f.shape[2] * f.shape[3] for f in features]
            drawn = {size: list(_random_rows(sizes.count(size), size, self.patch_count, features[0].device))
                     for size in dict.fromkeys(sizes)}
            return [drawn[size].pop(0) for size in sizes]
        return [sample_positions(f.shape[2], f.shape[3], self.patch_count, device=f.device) for f in features]

    def maps(self, features: Sequence[Tensor], positions: Sequence[Tensor | None]) -> list[Tensor]:
        """Compute the self-similarity map [B, N, P] of each layer, through the layer's head where there is one."""
        if self.heads:
            features = [head(f) for head, f in zip(self.heads, features, strict=True)]
        return [self_similarity(f, p, patch_size=self.patch_size, normalize=self.normalize)
                for f, p in zip(features, positions, strict=True)]


# Steps of the functions above.


def _random_rows(
    rows: int, size: int, count: int, device: torch.device | str, generator: torch.Generator | None = None
) -> Tensor:
    """Draw positions without replacement, ``rows`` times: [rows, N]."""
    return torch.rand(rows, size, generator=generator, device=device).topk(min(count, size)).indices


def _products(queries: Tensor, features: Tensor) -> Tensor:
    """Compute the scalar products of [B, C, N] with each position of [B, C, H, W]: [B, N, HW]."""
    if features.device.type != "cpu" or features.dtype != torch.float32:
        return queries.mT @ features.flatten(2)
    # The same as a convolution whose kernels are the queries: CPUs have faster code for it.
    batch, channels, height, width = features.shape
    kernels = queries.mT.reshape(-1, channels, 1, 1)
    return F.conv2d(features.reshape(1, -1, height, width), kernels, groups=batch).view(batch, -1, height * width)


def _strongest(source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Set both maps [B, N, P] to zero where the target is not in the strongest quarter of its row."""
    _require_maps(source, target)
    kept = target >= _kth_largest(target.detach(), target.shape[-1] // 4 + 1)
    return source * kept, target * kept


def _kth_largest(maps: Tensor, k: int) -> Tensor:
    """Find the k-th largest entry of each row: [B, N, P] -> [B, N, 1]."""
    if maps.device.type == "cuda":  # one kernel instead of seven; it is missing on Apple GPUs
        return maps.kthvalue(maps.shape[-1] - k + 1, keepdim=True).values
    return maps.topk(k, sorted=False).values.amin(dim=-1, keepdim=True)


def _cosines(source: Tensor, positive: Tensor, other: Tensor) -> Tensor:
    """Compute the cosines of all rows of source and positive, source and other, positive and other: [B, N, 3 * N].

    Dividing the products by the norms costs less than normalising the rows, because P is larger than N.
    """
    s, p, o = torch.stack([rows.norm(dim=2) for rows in (source, positive, other)]).clamp(min=1e-12)  # [B, N] each
    norms = torch.stack([s, s, p], dim=2)[..., None] * torch.stack([p, o, o], dim=1)[:, None]  # [B, N, 3, N]
    products = torch.stack([source @ positive.mT, source @ other.mT, positive @ other.mT], dim=2)
    return (products / norms).flatten(2)


def _mean_over_layers(loss: Callable[..., Tensor], *images: Sequence[Tensor]) -> Tensor:
    """Compute the mean over the layers of a loss of the images' maps; the loss takes ``reduction="none"``.

    Layers whose maps have one shape are one batch.
    """
    layers_of: dict[tuple[int, ...], list[tuple[Tensor, ...]]] = {}
    for maps in zip(*images, strict=True):
        layers_of.setdefault(tuple(maps[0].shape), []).append(maps)
    losses = [loss(*(of[0] if len(of) == 1 else torch.cat(of) for of in zip(*layers, strict=True)), reduction="none")
              for layers in layers_of.values()]
    if len({of.shape[1] for of in losses}) > 1:
        losses = [of.mean(dim=1) for of in losses]  # all layers count alike, whatever their numbers of queries
    return (losses[0] if len(losses) == 1 else torch.cat(losses)).mean()


def _reduce(losses: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    """Weight the losses of queries [B, N] and, for ``mean``, average them."""
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction '{reduction}' is unknown; choose one of: mean, none")
    if weights is None:
        return losses.mean() if reduction == "mean" else losses
    if weights.shape not in (losses.shape, losses.shape[1:]):
        raise ValueError(f"weights must be [N] or [B, N], with [B, N] = {list(losses.shape)} here, not of shape "
                         f"{list(weights.shape)}")
    if not torch.compiler.is_compiling() and _has_negative(weights):
        raise ValueError("weights must be at least 0, but some are negative")
    weights = weights.to(losses.dtype).expand_as(losses)
    if reduction == "none":
        return weights * losses
    return (weights * losses).sum() / weights.sum().clamp(min=torch.finfo(losses.dtype).tiny)


def _has_negative(weights: Tensor) -> bool:
    """Check whether some weights are below 0; False where values cannot be asked, as under vmap and on meta devices."""
    try:
        return bool((weights < 0).any())
    except RuntimeError:
        return False


def _no_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Disable autocast on the tensor's device; the meta device has none."""
    return nullcontext() if tensor.is_meta else torch.autocast(tensor.device.type, enabled=False)


# Checks of arguments.


def _require_features(name: str, features: Tensor) -> None:
    """Refuse features that are not [B, C, H, W] or are empty."""
    if features.dim() != 4 or not features.numel():
        raise ValueError(f"{name} must be features [B, C, H, W] that are not empty, not of shape "
                         f"{list(features.shape)}")


def _require_positions(positions: Tensor, batch: int) -> None:
    """Refuse query positions that are not a LongTensor [N] or [B, N]."""
    if positions.dtype != torch.long:
        raise ValueError(f"positions must be of dtype torch.long, not {positions.dtype}")
    if positions.dim() != 1 and (positions.dim() != 2 or len(positions) != batch):
        raise ValueError(f"positions must be [N] or [B, N] with B = {batch}, not of shape {list(positions.shape)}")


def _require_maps(*maps: Tensor) -> None:
    """Refuse self-similarity maps that differ in shape, are not [B, N, P], or are empty."""
    shapes = [list(of.shape) for of in maps]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"maps differ in shape: {', '.join(map(str, shapes))}")
    if len(shapes[0]) != 3 or 0 in shapes[0]:
        raise ValueError(f"maps must be [B, N, P] and not empty, not of shape {shapes[0]}")


def _require_layers(**images: Sequence[Tensor]) -> None:
    """Refuse features that cannot be compared position by position; errors name the images by their keywords."""
    for name, layers in images.items():
        if isinstance(layers, Tensor):
            raise ValueError(f"{name} must be a list with the features [B, C, H, W] of each layer, not a tensor: put "
                             "the features of a single layer into a list")
        if not layers:
            raise ValueError(f"{name} has no layers: it must be a list with the features [B, C, H, W] of each layer")
        for features in layers:
            _require_features(f"each layer of {name}", features)
    sizes = {name: [[len(f), *f.shape[2:]] for f in layers] for name, layers in images.items()}
    if any(size != next(iter(sizes.values())) for size in sizes.values()):
        raise ValueError("the images' features must agree in layers, batch, height and width, but [B, H, W] of each "
                         f"layer is {', '.join(f'{size} in {name}' for name, size in sizes.items())}")
