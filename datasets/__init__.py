"""Tools that make data sets; the folders beside them are data sets."""
