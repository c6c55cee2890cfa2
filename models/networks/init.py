"""Initial weights, as the CycleGAN family draws them."""

from collections.abc import Callable

from torch import Tensor, nn

INITIALISATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "normal": lambda weight, gain: nn.init.normal_(weight, 0.0, gain),
    "xavier": lambda weight, gain: nn.init.xavier_normal_(weight, gain=gain),
    "kaiming": lambda weight, _: nn.init.kaiming_normal_(weight),
    "orthogonal": lambda weight, gain: nn.init.orthogonal_(weight, gain=gain),
}


def initialize(module: nn.Module, init_type: str = "xavier", init_gain: float = 0.02) -> None:
    """Draw new weights for every convolution and linear layer in ``module``, in place; biases become 0.

    Batch normalisation's scales are drawn from N(1, init_gain). ``kaiming`` has no use for the gain.

    Args:
        init_type: ``normal``, ``xavier``, ``kaiming`` or ``orthogonal``.
        init_gain: standard deviation (``normal``) or factor (``xavier``, ``orthogonal``).

    Raises:
        ValueError: unknown ``init_type``.
    """
    if init_type not in INITIALISATIONS:
        raise ValueError(f"init_type '{init_type}' is not one of {', '.join(INITIALISATIONS)}")
    draw = INITIALISATIONS[init_type]
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            draw(layer.weight, init_gain)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, init_gain)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
