"""List the photos in object storage, as `scanner` lists those in folders."""

from __future__ import annotations

from collections.abc import Iterator

from phototag.errors import ObjectStorageError, UsageError
from phototag.imaging import FORMAT_NAMES, is_picture
from phototag.library.exclude import Exclusion
from phototag.library.left_out import LeftOut, is_passed_over, is_system_folder
from phototag.object_storage import list_objects, look_at
from phototag.paths import S3Path
from phototag.records import Photo


def check_objects(root: S3Path) -> None:
    """Check that there is something at or below an address.

    Raises:
        UsageError: there is nothing, or it is no picture by its name.
        ObjectStorageError: it cannot be looked at.
    """
    try:
        if is_picture(root) and look_at(root) is not None:
            return
        # An empty bucket is like an empty folder: it is there.
        if next(list_objects(root, most=1), None) is not None or not root.key:
            return
        if look_at(root) is not None:
            raise UsageError(f"{root}: not a picture that phototag reads ({FORMAT_NAMES})")
    except OSError as error:
        raise ObjectStorageError(f"{root}: cannot be looked at: {error.strerror}") from error
    raise UsageError(f"{root}: no such object, and none below it")


def scan_objects(root: S3Path, left_out: LeftOut, exclude: Exclusion) -> Iterator[Photo]:
    """Yield every picture below an address in the order of the bytes of their addresses, with flat memory.

    Keys with a hidden name in them, those in folders of the system and what `exclude` names are left out.

    Raises:
        OSError: the server refuses to list them, or to go on.
        ObjectStorageError: it cannot be asked.
    """
    base = str(root)
    folder, is_searched = "", False
    for photo in list_objects(root):
        path = str(photo.path)
        above, _, name = path.rpartition("/")
        if above != folder:
            folder, is_searched = above, _is_searched(S3Path(above), root, left_out, exclude)
        if not is_searched or name.startswith(".") or exclude.leaves_out(path, base):
            continue
        if is_picture(photo.path):
            yield photo
        else:
            left_out.note_file(name)


def _is_searched(folder: S3Path, root: S3Path, left_out: LeftOut, exclude: Exclusion) -> bool:
    # In a key these are names like any other.
    names = [name for name in folder.parts[len(root.parts) :] if name not in (".", "..")]
    system = next(filter(is_system_folder, names), None)
    if system is not None:
        left_out.folders[system] += 1
    return not any(map(is_passed_over, names)) and not exclude.covers(folder, root)


def picture_at(path: S3Path) -> Photo | None:
    """Return the picture at exactly an address, None if there is none.

    Raises:
        OSError: the server refuses to tell.
        ObjectStorageError: it cannot be asked.
    """
    return look_at(path) if is_picture(path) else None
