"""Learn a model from labelled pictures: heads on frozen features, or fine-tuning by gradient."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
