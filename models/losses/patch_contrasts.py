"""Losses between the patches of an image and of its translation, instead of `patch_nce` or beside it.

`monce` weights the negatives by optimal transport (Zhan et al.: "Modulated Contrast for Versatile Image Synthesis",
CVPR 2022, arXiv 2203.09333). `hard_negative_contrast` draws negatives near the query's own patch, and leaves the
positive out of the denominator; `semantic_relation_loss` keeps the similarities of the patches of one image (both Jung,
Kwon, Ye: "Exploring Patch-wise Semantic Relation for Contrastive Learning in Image-to-Image Translation Tasks", CVPR
2022, arXiv 2203.01532).

In all, rows are L2-normalised: w_i of the translation and z_i of the input, at the place i of N. Only the translation
carries a gradient.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .patch_nce import own_place, unit_rows

ITERATIONS = 50
"""Of Sinkhorn's algorithm, as in the code of MoNCE."""


def monce(queries: Tensor, keys: Tensor, *, temperature: float = 0.07, epsilon: float = 1.0) -> Tensor:
    """Compute a cross-entropy as in `patch_nce`, with a weight for each negative:

        -log(exp(w_i . z_i / t) / (exp(w_i . z_i / t) + (N - 1) * sum over j != i of T_ij * exp(w_i . z_j / t)))

    T is the transport plan of entropy ``epsilon`` between queries and keys: positive, each row and column sums to 1,
    the diagonal is 0, and T_ij is the larger, the more similar w_i and z_j are. T is a constant of the loss. (The
    published code differentiates it too.)

    Args:
        queries, keys: [B, N, C] with N at least 2, of the translation and of the input, at the same places.
        temperature: t.
        epsilon: of the transport plan; the smaller, the more the similar negatives count.

    Returns:
        Scalar, averaged over B and N; in float32 or, for float64 rows, float64.
    """
    count = queries.shape[1]
    with torch.autocast(queries.device.type, enabled=False):
        similarities = unit_rows(queries) @ unit_rows(keys.detach()).mT  # [B, N, N]
        plan = transport_plan(similarities.detach(), epsilon)
        positive = torch.eye(count, dtype=torch.bool, device=queries.device)
        weights = (plan * (count - 1)).clamp(min=1e-8).masked_fill(positive, 1)
        return F.cross_entropy((similarities / temperature + weights.log()).flatten(0, 1), own_place(queries))


def transport_plan(similarities: Tensor, epsilon: float) -> Tensor:
    """Scale exp(similarities / epsilon) without its diagonal so that rows and columns sum to 1: [B, N, N]."""
    diagonal = torch.eye(similarities.shape[1], dtype=torch.bool, device=similarities.device)
    kernel = ((similarities - 1) / epsilon).exp().masked_fill(diagonal, 0)
    columns = torch.ones_like(kernel[:, :1])  # [B, 1, N]
    for _ in range(ITERATIONS):
        rows = 1 / (kernel @ columns.mT)  # [B, N, 1]
        columns = 1 / (rows.mT @ kernel)
    return rows * kernel * columns


def hard_negative_contrast(queries: Tensor, keys: Tensor, *, temperature: float = 0.07, gamma: float = 0.1) -> Tensor:
    """Compute decoupled InfoNCE with hard negatives (hDCE):

        -log(exp(w_i . z_i / t) / ((N - 1) * E over z of exp(w_i . z / t)))

    where E is over negatives z_j, j != i, of probability proportional to exp(gamma * z_i . z_j). (The published code
    multiplies the products w_i . z_j by these probabilities, scaled to a maximum of 1.)

    Args:
        queries, keys: [B, N, C] with N at least 2, of the translation and of the input, at the same places.
        temperature: t.
        gamma: 0: all negatives alike; the larger, the more those count that resemble the query's own patch.

    Returns:
        Scalar, averaged over B and N, of any sign; in float32 or, for float64 rows, float64.
    """
    count = queries.shape[1]
    with torch.autocast(queries.device.type, enabled=False):
        w, z = unit_rows(queries), unit_rows(keys.detach())
        diagonal = torch.eye(count, dtype=torch.bool, device=queries.device)
        shares = (gamma * z @ z.mT).masked_fill(diagonal, -math.inf).log_softmax(dim=2)
        logits = w @ z.mT / temperature
        negatives = (logits + shares).logsumexp(dim=2) + math.log(count - 1)
        return (negatives - logits.diagonal(dim1=1, dim2=2)).mean()


def semantic_relation_loss(queries: Tensor, keys: Tensor) -> Tensor:
    """Compute the Jensen-Shannon divergence of the similarities inside the input and inside the translation (SRC):

        sum over i of JSD(softmax over j of z_i . z_j, softmax over j of w_i . w_j)

    Args:
        queries, keys: [B, N, C], of the translation and of the input, at the same places.

    Returns:
        Scalar, summed over the N patches and averaged over B; in float32 or, for float64 rows, float64.
    """
    with torch.autocast(queries.device.type, enabled=False):
        w, z = unit_rows(queries), unit_rows(keys.detach())
        first, second = (z @ z.mT).log_softmax(dim=2), (w @ w.mT).log_softmax(dim=2)
        middle = torch.logaddexp(first, second) - math.log(2)
        divergence = sum(F.kl_div(middle, of, reduction="sum", log_target=True) for of in (first, second))
        return torch.as_tensor(divergence) / 2 / len(queries)
