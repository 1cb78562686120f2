"""A database, whatever is in it: where it lies, its connections, its tables and schema, and the right to write."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
