"""Adversarial objectives and gradient penalties, as pure functions of a discriminator's scores."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GAN_MODES = ("lsgan", "vanilla", "hinge", "nonsaturating", "wgangp")
Prediction = Tensor | Sequence[Tensor]


def gan_loss(prediction: Prediction, target_is_real: bool, *, mode: str, for_discriminator: bool) -> Tensor:
    """Compute the adversarial loss of scores, averaged over each score map and summed over scales.

    ``lsgan`` (Mao et al., 2017) is the squared distance to 1 (real) or 0, ``vanilla`` (Goodfellow et al., 2014)
    the binary cross-entropy of logits; both look the same from either side. For the discriminator, ``hinge``
    (Lim & Ye, 2017) is relu(1 - s), ``nonsaturating`` (Karras et al., 2020) softplus(-s) and ``wgangp``
    (Gulrajani et al., 2017) -s of real scores s, and of generated ones the same of -s. Their generator wants
    its images called real: it minimises softplus(-s) for ``nonsaturating`` and -s for the others.

    Args:
        prediction: scores of any shape, unbounded; or a sequence of them, one per scale.
        target_is_real: what the scores should say. Ignored by the last three modes for the generator.
        mode: one of `GAN_MODES`.
        for_discriminator: whether the discriminator is trained, or the generator.

    Returns:
        Scalar.

    Raises:
        ValueError: unknown ``mode``.
    """
    if isinstance(prediction, Tensor):
        return _one_scale(prediction, target_is_real, mode, for_discriminator)
    return torch.stack([_one_scale(scores, target_is_real, mode, for_discriminator) for scores in prediction]).sum()


def _one_scale(scores: Tensor, target_is_real: bool, mode: str, for_discriminator: bool) -> Tensor:
    if mode == "lsgan":
        return F.mse_loss(scores, torch.full_like(scores, float(target_is_real)))
    signed = scores if target_is_real else -scores  # to be made large
    if mode == "vanilla":
        return F.softplus(-signed).mean()
    if not for_discriminator:
        signed = scores
    if mode == "nonsaturating":
        return F.softplus(-signed).mean()
    if mode == "hinge" and for_discriminator:
        return F.relu(1 - signed).mean()
    if mode in ("hinge", "wgangp"):
        return -signed.mean()
    raise ValueError(f"mode '{mode}' is not one of {', '.join(GAN_MODES)}")


def gradient_penalty(
    discriminator: nn.Module, real: Tensor, fake: Tensor, *, mode: str = "mixed", constant: float = 1.0,
    weight: float = 10.0, alpha: Tensor | None = None, generator: torch.Generator | None = None,
) -> Tensor:
    """Penalise slopes of the discriminator that differ from ``constant``: weight * mean((|dD/dx| - constant)^2).

    Differentiable with respect to the discriminator's parameters. Source: Gulrajani et al., 'Improved training
    of Wasserstein GANs', 2017, equation 3.

    Args:
        discriminator: maps images to scores, or to a list of them, whose sum D is differentiated.
        real, fake: images [B, C, H, W] in [-1, 1]; no gradient reaches them.
        mode: where the slope is taken: at ``real`` or ``fake`` images, or on lines between them (``mixed``).
        constant: the slope wanted.
        alpha: for ``mixed``, the share of ``real``, B values in [0, 1]; drawn from ``generator`` if left out.

    Returns:
        Scalar.

    Raises:
        ValueError: unknown ``mode``.
    """
    if mode == "mixed":
        if alpha is None:
            device = generator.device if generator else real.device
            alpha = torch.rand(len(real), generator=generator, device=device)
        alpha = alpha.to(real).view(-1, 1, 1, 1)
        images = alpha * real + (1 - alpha) * fake
    elif mode in ("real", "fake"):
        images = real if mode == "real" else fake
    else:
        raise ValueError(f"mode '{mode}' is not one of mixed, real, fake")
    slopes = image_gradients(discriminator, images) + 1e-16  # a norm has no derivative at 0
    penalty: Tensor = (slopes.norm(dim=1) - constant).square().mean()
    return weight * penalty


def r1_penalty(discriminator: nn.Module, real: Tensor, *, gamma: float = 1.0) -> Tensor:
    """Compute the discriminator's squared slope at real images: gamma / 2 * mean(|dD/dx|^2).

    Differentiable with respect to the discriminator's parameters; the mean is over images, the norm over all pixels
    of one. Source: Mescheder et al., 'Which training methods for GANs do actually converge?', ICML 2018, equation 9.

    Args:
        discriminator: maps images to scores, or to a list of them, whose sum D is differentiated.
        real: images [B, C, H, W] in [-1, 1]; no gradient reaches them.

    Returns:
        Scalar.
    """
    return gamma / 2 * image_gradients(discriminator, real).square().sum(1).mean()


def image_gradients(discriminator: nn.Module, images: Tensor) -> Tensor:
    """Compute the gradient of the scores' sum for each image: [B, C, H, W] -> [B, C * H * W], differentiable."""
    images = images.detach().requires_grad_()
    prediction = discriminator(images)
    scales = [prediction] if isinstance(prediction, Tensor) else prediction
    total = torch.stack([scores.sum() for scores in scales]).sum()
    (gradients,) = torch.autograd.grad(total, images, create_graph=True)
    return gradients.flatten(1)
