"""The parts of ``app.py``."""
