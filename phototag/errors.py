"""Every exception that phototag raises on purpose.

    PhotoTagError                     base of all; its text is fit to show to a user
    ├── UsageError                    wrong use: nothing was done                          (exit code 2)
    │   └── TaxonomyError             labels that do not form two clean levels
    ├── DataError                     labelled data that cannot be used                    (exit code 2)
    ├── ModelError                    a model or its weights cannot be found or read       (exit code 2)
    ├── RuntimeUnavailableError       the wanted device or runtime is not here             (exit code 2)
    ├── StoreError                    the database cannot be used                          (exit code 2)
    │   ├── MissingDatabaseError      there is none yet
    │   ├── SchemaError               its schema is older or newer than this version
    │   └── LockedError               another process is writing
    └── DecodeError                   one picture cannot be read; becomes a `Failure`, never ends a run

Foreign errors are translated once, where they enter, and chained.
"""

from __future__ import annotations

from pathlib import Path


class PhotoTagError(Exception):
    """Base of every error phototag raises on purpose. The text says what, where and the way out."""


class UsageError(PhotoTagError):
    """The call makes no sense as given."""


class TaxonomyError(UsageError):
    """Labels that do not form a clean hierarchy of two levels."""


class DataError(PhotoTagError):
    """Labelled data that cannot be used for training or judging."""


class ModelError(PhotoTagError):
    """A model file or its weights cannot be found, read or trusted."""


class RuntimeUnavailableError(PhotoTagError):
    """The wanted device or inference runtime is not available here."""


class StoreError(PhotoTagError):
    """The database cannot be opened, read or written."""


class MissingDatabaseError(StoreError):
    """There is no database there yet."""


class SchemaError(StoreError):
    """The database's schema is not the one this version of phototag works with."""


class LockedError(StoreError):
    """Another process holds the right to write to this database."""


class DecodeError(PhotoTagError):
    """A picture that cannot be decoded.

    `kind` is one of `FailureKind`'s values; `reason` is the text without the path.
    """

    def __init__(self, path: Path, kind: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.kind = kind
        self.reason = reason
