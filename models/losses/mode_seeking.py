"""Mode seeking (Mao, Lee, Tseng, Ma, Yang: CVPR 2019, arXiv 1903.05628): different styles give different pictures."""

from torch import Tensor

LEAST = 0.01
"""About one 8-bit level of an image in [-1, 1]; it bounds the gradient where two pictures agree."""


def mode_seeking_loss(first: Tensor, second: Tensor, first_style: Tensor, second_style: Tensor) -> Tensor:
    """Compute the distance of two styles over that of the pictures that they give: small where styles matter.

    Both distances are mean absolute differences. The paper maximises the inverse of this ratio; its code takes means
    over the batch first, and minimises 1 / (pictures / styles + 0.00001).

    Args:
        first, second: [B, C, H, W] in [-1, 1], pictures of the same images.
        first_style, second_style: [B, S], the styles that they are in.

    Returns:
        A scalar, the mean over B.
    """
    pictures = (first - second).abs().mean(dim=(1, 2, 3))
    styles = (first_style - second_style).abs().mean(dim=1)
    return (styles / (pictures + LEAST)).mean()
