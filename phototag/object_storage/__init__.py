"""Photos in S3 object storage: list and read objects. Loads botocore when the first is asked for, not before."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
