"""phototag keeps a photo library tagged with two-level labels, and says how accurate the tags are.

Public names are loaded when they are first used, so `import phototag` is instant and never imports torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
