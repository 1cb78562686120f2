"""What objects there are: one page of keys at a time, in the order of their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Any

from phototag.errors import ObjectStorageError
from phototag.object_storage.client import ask
from phototag.paths import SCHEME, S3Path
from phototag.records import Photo

_PAGE_KEYS = 1000
_TAG_BYTES = 8


def list_objects(root: S3Path, *, most: int | None = None) -> Iterator[Photo]:
    """Yield all objects below `root`, in the order of their keys' bytes; the next page is fetched meanwhile.

    `inode` stands for the entity tag: 63 bits of its hash. `changed_ns` is 0, and times are whole seconds, as a single
    object tells no others.

    Raises:
        OSError: as for `ask`.
        ObjectStorageError: as for `ask`, or the server keeps no order.
    """
    start, before = f"{SCHEME}{root.bucket}/", b""
    prefix = f"{root}/"[len(start) :]
    page_keys = min(_PAGE_KEYS, most or _PAGE_KEYS)

    def page(token: str | None) -> Any:
        after = {} if token is None else {"ContinuationToken": token}
        return ask("list_objects_v2", root, Prefix=prefix, MaxKeys=page_keys, **after)

    with ThreadPoolExecutor(1, thread_name_prefix="listing") as fetcher:
        coming = fetcher.submit(page, None)
        while True:
            answer = coming.result()
            token = answer.get("NextContinuationToken") if answer.get("IsTruncated") and most is None else None
            if token is not None:
                coming = fetcher.submit(page, token)
            for found in answer.get("Contents", ()):
                path = S3Path(start + found["Key"])
                key = bytes(path)
                if key <= before:
                    raise ObjectStorageError(
                        f"{root}: this server lists keys in no order, as directory buckets do; copy the photos to "
                        "another kind of bucket"
                    )
                before = key
                yield _photo(path, found["Size"], found["ETag"], datetime.fromisoformat(found["LastModified"]))
            if token is None:
                return


def look_at(path: S3Path) -> Photo | None:
    """Return the object at exactly that address, None if there is none.

    Raises:
        OSError: as for `ask`, but for an object that is not there.
        ObjectStorageError: as for `ask`.
    """
    if not path.key:
        return None
    try:
        found = ask("head_object", path, Key=path.key)
    except FileNotFoundError:
        return None
    return _photo(path, found["ContentLength"], found["ETag"], parsedate_to_datetime(found["LastModified"]))


def names_in(folder: S3Path) -> list[str]:
    """Return the names of the objects right below an address, not those of deeper ones.

    Raises:
        OSError: as for `ask`.
        ObjectStorageError: as for `ask`.
    """
    prefix = f"{folder}/"[len(f"{SCHEME}{folder.bucket}/") :]
    names: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = ask("list_objects_v2", folder, Prefix=prefix, Delimiter="/", **token)
        names += (found["Key"][len(prefix) :] for found in answer.get("Contents", ()))
        if not answer.get("IsTruncated"):
            return names
        token = {"ContinuationToken": answer["NextContinuationToken"]}


def _photo(path: S3Path, size_bytes: int, entity_tag: str, modified: datetime) -> Photo:
    number = int.from_bytes(blake2b(entity_tag.strip('"').encode(), digest_size=_TAG_BYTES).digest()) >> 1
    return Photo(path, size_bytes, int(modified.timestamp()) * 1_000_000_000, 0, number)
