"""What a photo's file says of itself: when, where and with what it was taken, and its keywords. Knows no database."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
