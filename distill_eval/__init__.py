"""Prove what a distilled language model kept of its teacher, and decide whether it may ship."""

__version__ = "0.1.0"
