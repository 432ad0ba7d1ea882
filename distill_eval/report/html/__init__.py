"""A report as one self-contained page: no file beside it, no network, readable without its script."""
