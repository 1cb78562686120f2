"""Small photos that a database holds tags of, to write keywords beside and into."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from PIL import Image

from phototag.records import Photo, Tag
from phototag.store import Store, StoredTag
from tests.support.stored_photos import ROOSTER, register


def tag_picture(store: Store, path: Path, tag: Tag = ROOSTER, *, xmp: bytes | None = None) -> Path:
    """Make a photo, unless it is there, and tag it."""
    if not path.exists():
        options: dict[str, Any] = {} if xmp is None else {"xmp": xmp}
        Image.effect_noise((24, 16), 50).save(path, "JPEG", **options)
    store.tags.save_batch(model_id=register(store), tagged=[as_tagged(path, tag)])
    return path


def as_tagged(path: Path, tag: Tag = ROOSTER) -> StoredTag:
    status = path.stat()
    photo = Photo(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return StoredTag(photo, sha256(path.read_bytes()).digest(), 24, 16, b"scores", tag)
