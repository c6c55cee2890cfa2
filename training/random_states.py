"""Random states of the CPU and of the run's device."""

from collections.abc import Mapping
from typing import Any

import torch


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states, by kind of device. Other devices are not asked: that would start their drivers."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def restore_random_states(states: Mapping[str, Any], device: torch.device) -> list[str]:
    """Restore `random_states`; return notes for the user."""
    torch.set_rng_state(states["cpu"])
    if device.type not in states:
        return [f"the checkpoint has no random state for the device {device.type}, so random choices there differ "
                "from those of an uninterrupted run"]
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[device.type])
    return []
