"""Entries of `torch.hub`: ``torch.hub.load(REPOSITORY, "fsesim")``."""

import spatial_correlative as _package

dependencies = ["torch", "safetensors"]

fsesim = _package.FSeSim
