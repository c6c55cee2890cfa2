"""Losses: pure functions of tensors, with thin modules around those that hold parameters."""
