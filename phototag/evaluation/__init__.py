"""How right scores are, on labelled pictures: metrics, curves, intervals, certified thresholds, tests and gates."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
