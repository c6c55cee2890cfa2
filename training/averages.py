"""Moving averages of networks (``--ema``): start them, and update them once a step."""

import torch

from models import Model
from util.state_dicts import AVERAGE


def start_average(model: Model, name: str) -> str:
    """Start a moving average from its network; return a note for the user."""
    model.networks[name].load_state_dict(model.networks[name.removesuffix(AVERAGE)].state_dict())
    return f"the checkpoint has no moving average {name}; it starts from the network"


@torch.no_grad()
def update_averages(model: Model) -> None:
    """Move the averages towards their networks, once a step."""
    for name, decay in model.decays.items():
        average, network = model.networks[name + AVERAGE], model.networks[name]
        torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
        for kept, current in zip(average.buffers(), network.buffers(), strict=True):
            kept.copy_(current)
