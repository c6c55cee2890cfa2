"""The kernel distance (KID) between two sets of features."""

from torch import Tensor

from metrics.bootstrap import Statistic


def kernel_statistic(a: Tensor, b: Tensor) -> Statistic:
    """Compute the squared maximum mean discrepancy with kernel ``(x . y / D + 1)^3`` (Binkowski et al., 2018, eq. 4).

    The estimate is unbiased: its expectation does not depend on the number of images, and about half of the values
    are negative if both sets have one distribution. Each pair counts once; means over random subsets, which other
    programs print, scatter around this value. No row is compared with its own copies.

    Args:
        a: features [N, D].
        b: features [M, D].

    Returns:
        A function of the rows' counts: [1].

    Raises:
        ValueError: fewer than two rows, or rows of different lengths.
    """
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"features [N, D] and [M, D] with N, M >= 2 are needed, got {list(a.shape)}, {list(b.shape)}")
    within_a, within_b, between = _kernel(a, a), _kernel(b, b), _kernel(a, b)
    within_a.fill_diagonal_(0)
    within_b.fill_diagonal_(0)

    def statistic(counts_a: Tensor, counts_b: Tensor) -> Tensor:
        x, y = counts_a.double(), counts_b.double()
        distance = _mean(within_a, x) + _mean(within_b, y) - 2 * (x @ between @ y) / (x.sum() * y.sum())
        return distance[None]

    return statistic


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return (a @ b.T / a.shape[1] + 1).pow_(3)


def _mean(kernel: Tensor, counts: Tensor) -> Tensor:
    """Average over the pairs of different rows."""
    return (counts @ kernel @ counts) / (counts.sum().square() - counts.square().sum())
