"""Every exception that phototag raises on purpose.

    PhotoTagError                     base of all; its text is fit to show to a user
    ├── UsageError                    wrong use: nothing was done                          (exit code 2)
    │   └── TaxonomyError             labels that do not form two clean levels
    ├── DataError                     labelled data that cannot be used                    (exit code 2)
    ├── ModelError                    a model or its weights cannot be found or read       (exit code 2)
    ├── RuntimeUnavailableError       the wanted device or runtime is not here             (exit code 2)
    ├── ObjectStorageError            objects cannot be listed or read, for a reason of all     (exit code 2)
    ├── StoreError                    the database cannot be used                          (exit code 2)
    │   ├── MissingDatabaseError      there is none yet
    │   ├── SchemaError               its schema is older or newer than this version
    │   └── LockedError               another process is writing
    └── DecodeError                   one picture cannot be read; becomes a `Failure`, never ends a run

Foreign errors are translated once, where they enter, and chained.
"""

from __future__ import annotations

from phototag.paths import PhotoPath


class PhotoTagError(Exception):
    """Base of every error that phototag raises on purpose. The text says what, where and the way out.

    >>> try:
    ...     phototag.evaluate("no/such/folder")
    ... except phototag.PhotoTagError as error:
    ...     print(type(error).__name__)
    DataError
    """


class UsageError(PhotoTagError):
    """Raised when a call makes no sense as given; nothing was done.

    >>> phototag.Query(limit=-1)
    Traceback (most recent call last):
        ...
    phototag.errors.UsageError: a limit is 0 or more, not -1
    """


class TaxonomyError(UsageError):
    """Raised when labels do not form a clean hierarchy of two levels.

    >>> phototag.Taxonomy.from_pairs([("bird", "finch"), ("dog", "finch")])
    Traceback (most recent call last):
        ...
    phototag.errors.TaxonomyError: subclass 'finch' lies under two superclasses, 'bird' and 'dog'
    """


class DataError(PhotoTagError):
    """Raised when labelled data cannot be used for training or evaluation.

    >>> try:
    ...     phototag.train("no/such/folder")
    ... except phototag.DataError as error:
    ...     print("no/such/folder" in str(error))
    True
    """


class ModelError(PhotoTagError):
    """Raised when a model file or its weights cannot be found, read or trusted.

    >>> try:
    ...     phototag.Tagger("no_such_model")
    ... except phototag.ModelError as error:
    ...     print("no_such_model" in str(error))
    True
    """


class RuntimeUnavailableError(PhotoTagError):
    """Raised when a device or an inference runtime is not available on this machine.

    >>> import torch
    >>> try:
    ...     phototag.Tagger(device="cuda").close()
    ... except phototag.RuntimeUnavailableError:
    ...     assert not torch.cuda.is_available()
    """


class ObjectStorageError(PhotoTagError):
    """Raised when photos in object storage cannot be reached: no credentials, no such bucket, no network.

    >>> try:
    ...     phototag.Tagger().tag(["s3://no_bucket_is_called_so"], phototag.Store.open("photos.db"))
    ... except phototag.ObjectStorageError as error:
    ...     print("s3://no_bucket_is_called_so" in str(error))
    True
    """


class StoreError(PhotoTagError):
    """Raised when a database cannot be opened, read or written.

    >>> _ = Path("letter.db").write_text("Dear reader, this is no database.")
    >>> try:
    ...     phototag.Store.open("letter.db")
    ... except phototag.StoreError as error:
    ...     print("letter.db" in str(error))
    True
    """


class MissingDatabaseError(StoreError):
    """Raised when there is no database yet, and none may be made.

    >>> try:
    ...     phototag.Store.open("none_yet.db", create=False)
    ... except phototag.MissingDatabaseError as error:
    ...     print("none_yet.db" in str(error))
    True
    """


class SchemaError(StoreError):
    """Raised when the schema of a database is not the one that this version of phototag works with.

    >>> phototag.Store.open("old.db").close()
    >>> with closing(sqlite3.connect("old.db")) as connection:
    ...     _ = connection.execute("UPDATE alembic_version SET version_num = '0001'")
    ...     connection.commit()
    >>> try:
    ...     phototag.Store.open("old.db")
    ... except phototag.SchemaError as error:
    ...     print("phototag db upgrade" in str(error))
    True
    """


class LockedError(StoreError):
    """Raised when another process, or another `Store`, holds the right to write to a database.

    >>> with phototag.Store.open("busy.db") as store, store.writing("tag"):
    ...     try:
    ...         with phototag.Store.open("busy.db") as other, other.writing("tag"):
    ...             pass
    ...     except phototag.LockedError as error:
    ...         print("busy.db" in str(error))
    True
    """


class DecodeError(PhotoTagError):
    """Raised when a picture cannot be decoded. The tagger stores it as a `Failure` and goes on.

    Args:
        path: The picture file.
        kind: One of `FailureKind`'s values.
        reason: What is wrong, without the path.

    >>> error = phototag.DecodeError(Path("a.jpg"), phototag.FailureKind.TRUNCATED, "the file ends too early")
    >>> print(error)
    a.jpg: the file ends too early
    """

    def __init__(self, path: PhotoPath, kind: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.kind = kind
        self.reason = reason

    def __reduce__(self) -> tuple[type[DecodeError], tuple[PhotoPath, str, str]]:
        """Return how it is made again in another process, which its text alone would not do."""
        return type(self), (self.path, self.kind, self.reason)
