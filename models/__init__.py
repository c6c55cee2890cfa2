"""Models: one file each, describing a method by its networks, its losses and one optimisation step."""
