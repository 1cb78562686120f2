"""How right scores are: metrics, curves, intervals, tests and gates, on labelled pictures."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
