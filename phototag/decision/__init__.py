"""Decide from scores: one consistent tag of two levels, backing off where it must. Numpy only."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
