"""Scores of translated images; knows images and feature networks, not the models that made them."""
