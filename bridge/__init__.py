"""A multipoint tele-consultation conference bridge."""

__version__ = "0.1.0"
