"""Measure the accuracy of the spatially-correlative losses when the networks compute in bf16."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.networks.vgg import VGG16Features, layer_channels
from spatial_correlative import contrastive_loss, self_similarity, similarity_head, structure_distance

from .images import jittered, random_images
from .plain import patch_similarity

LAYERS = ("relu3_1", "relu4_1", "relu4_3")
PRECISIONS = ("float32", "bf16 networks", "bf16 throughout")
Features = list[list[Tensor]]  # of source, target and another image: one [1, C, H, W] a layer


def accuracy_rows(size: int, window: int, device: torch.device) -> list[dict[str, str | int | float]]:
    """Compute relative errors of losses and of their gradients, against float64.

    ``float32`` computes all in float32; ``bf16 networks`` VGG16 in bf16 and heads and loss in float32, as
    ``--amp bf16`` does; ``bf16 throughout`` heads and loss in bf16 as well, which nothing here does. Gradients are
    those of the translation's pixels (structure) and of the heads (contrastive). ``own`` errors are what the loss adds
    to the features it was given: its reference is the same features, turned to float64.
    """
    torch.manual_seed(0)
    exact_heads = nn.ModuleList(similarity_head(channels) for channels in layer_channels(LAYERS)).to(device).double()
    exact_target, exact_features = _extract("float64", size, device)
    exact = _losses(exact_features, exact_heads, window)
    exact_gradients = {"structure": _gradient(exact["structure"], [exact_target]),
                       "contrastive": _gradient(exact["contrastive"], list(exact_heads.parameters()))}
    rows: list[dict[str, str | int | float]] = []
    for precision in PRECISIONS:
        target, features = _extract(precision, size, device)
        heads = copy.deepcopy(exact_heads).to(features[0][0].dtype)
        losses = _losses(features, heads, window)
        given, same = ([[layer.detach().to(dtype).requires_grad_() for layer in of] for of in features]
                       for dtype in (features[0][0].dtype, torch.float64))
        own, own_exact = _losses(given, heads, window), _losses(same, exact_heads, window)
        learned, learned_exact = list(heads.parameters()), list(exact_heads.parameters())
        gradients = {
            "structure": (_gradient(losses["structure"], [target]), _gradient(own["structure"], given[1]),
                          _gradient(own_exact["structure"], same[1])),
            "contrastive": (_gradient(losses["contrastive"], learned), _gradient(own["contrastive"], learned),
                            _gradient(own_exact["contrastive"], learned_exact)),
        }
        rows += [{
            "loss": name, "window": window, "precision": precision,
            "error": _error(losses[name], exact[name]),
            "gradient error": _error(gradient, exact_gradients[name]),
            "gradient cosine": float(torch.cosine_similarity(gradient, exact_gradients[name], dim=0)),
            "own error": _error(own[name], own_exact[name]),
            "own gradient error": _error(own_gradient, own_exact_gradient),
        } for name, (gradient, own_gradient, own_exact_gradient) in gradients.items()]
    return rows


def _extract(precision: str, size: int, device: torch.device) -> tuple[Tensor, Features]:
    """Return a translation's pixels, and features of its input, of itself and of another image."""
    dtype = torch.float64 if precision == "float64" else torch.float32
    vgg = VGG16Features(LAYERS).to(device, dtype)
    source, other = random_images(2, size).to(device, dtype).chunk(2)
    target = jittered(source).requires_grad_()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision.startswith("bf16")):
        features = [vgg(images) for images in (source, target, other.flip(2, 3))]
    return target, features if precision == "bf16 throughout" else [[f.to(dtype) for f in of] for of in features]


def _losses(features: Features, heads: nn.ModuleList, window: int) -> dict[str, Tensor]:
    """Compute FSeSim's structure loss and LSeSim's contrastive loss, in the features' precision."""
    generator = torch.Generator().manual_seed(0)
    positions = [torch.randperm(layer[0, 0].numel(), generator=generator)[:256].to(layer.device)
                 for layer in features[0]]

    def maps(of: Sequence[Tensor]) -> list[Tensor]:
        if of[0].dtype == torch.bfloat16:  # self_similarity would turn to float32
            return [patch_similarity(layer, queries, patch_size=window, normalize=False)
                    for layer, queries in zip(of, positions, strict=True)]
        return [self_similarity(layer, queries, patch_size=window)
                for layer, queries in zip(of, positions, strict=True)]

    pairs = zip(maps(features[0]), maps(features[1]), strict=True)
    learned = [maps([head(layer.detach()) for head, layer in zip(heads, of, strict=True)]) for of in features]
    return {"structure": torch.stack([structure_distance(*pair) for pair in pairs]).mean(),
            "contrastive": torch.stack([contrastive_loss(*triple) for triple in zip(*learned, strict=True)]).mean()}


def _gradient(loss: Tensor, inputs: Sequence[Tensor]) -> Tensor:
    """Compute the gradient of all inputs in one row, in float64."""
    gradients = torch.autograd.grad(loss, inputs, retain_graph=True)
    return torch.cat([gradient.double().flatten() for gradient in gradients])


def _error(value: Tensor, exact: Tensor) -> float:
    return float((value - exact).detach().norm() / exact.detach().norm())
