"""Many machines: Ray, or a queue in PostgreSQL, hands chunks of photos to workers that run the usual tagger."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
