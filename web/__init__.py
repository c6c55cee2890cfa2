"""The parts of ``app.py``: checkpoints that are found and loaded, what is made of an image, and the page."""
