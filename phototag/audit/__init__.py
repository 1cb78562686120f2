"""Say how accurate the stored tags are: against known labels, or from a reviewed sample with intervals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
