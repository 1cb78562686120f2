"""What a model is: its file, its network, its heads, and where models are kept. Knows no training."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
