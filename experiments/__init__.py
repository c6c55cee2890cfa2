"""Programs that compare methods and settings: ``python -m experiments.NAME``."""
