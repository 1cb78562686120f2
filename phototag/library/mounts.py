"""Ask the operating system about file systems, mount points and the limits of inotify."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_MOUNT_TABLE = Path("/proc/self/mountinfo")
_LIMITS = Path("/proc/sys/fs/inotify")

# The kernel reports what this computer does to these, and nothing of what other computers, or the host of a virtual
# machine, do to them.
_REMOTE = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "ceph", "glusterfs", "lustre", "gpfs"),
        *("beegfs", "orangefs", "pvfs2", "gfs2", "ocfs2", "davfs"),
        *("9p", "drvfs", "virtiofs", "vboxsf", "vmhgfs", "prl_fs", "fakeowner"),
    }
)
# Behind FUSE stands a program, most often one that fetches from elsewhere, so polling is the safe guess. These only
# show a local disk in another form: what changes there changes through this mount.
_LOCAL_FUSE = frozenset(
    {"fuseblk", "fuse.ntfs-3g", "fuse.ntfs", "fuse.exfat", "fuse.exfat-fuse", "fuse.mergerfs", "fuse.bindfs"}
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table; `parent` is the number of the mount that holds the mount point."""

    number: int
    parent: int
    point: Path
    kind: str


def file_system(path: Path) -> str | None:
    """Return the type of the file system that holds `path`, such as "ext4" or "nfs4"; None if that is unknown.

    Only Linux tells. Symbolic links are followed.
    """
    mounts = _mounts()
    found = covering(mounts, Path(os.path.realpath(path)))
    return found.kind if found is not None else None


def needs_polling(path: Path) -> str | None:
    """Return the type of the file system that holds `path` if changes by other computers cause no events here."""
    kind = file_system(path)
    return kind if kind is not None and is_remote(kind) else None


def is_remote(kind: str) -> bool:
    """Return whether a file system of this type can change without this computer's kernel hearing of it."""
    return kind in _REMOTE or ((kind == "fuse" or kind.startswith("fuse.")) and kind not in _LOCAL_FUSE)


def is_mount_point(path: Path) -> bool:
    """Return whether a file system is mounted exactly here."""
    real = Path(os.path.realpath(path))
    found = covering(_mounts(), real)
    # A bind mount lies on the device of its parent folder, which is all that `ismount` looks at.
    return found.point == real if found is not None else os.path.ismount(real)


def mount_point_of(path: Path) -> Path | None:
    """Return where the file system that holds `path` is mounted, free of symbolic links; None for the outermost."""
    real = Path(os.path.realpath(path))
    found = covering(_mounts(), real)
    point = found.point if found is not None else next(filter(os.path.ismount, (real, *real.parents)), None)
    return None if point is None or point == point.parent else point


def mount_points(roots: Sequence[Path]) -> set[Path]:
    """Return where other file systems are mounted below the roots, named as below the root. Empty except on Linux."""
    mounts = _mounts()
    points = set()
    for root in roots:
        real = Path(os.path.realpath(root))
        for mount in mounts:
            if mount.point != real and mount.point.is_relative_to(real) and _is_visible(mounts, mount):
                points.add(root / mount.point.relative_to(real))
    return points


def inotify_limits() -> dict[str, int]:
    """Return how much of inotify this user may have, by the names of the settings; nothing where there is no inotify.

    These are folders watched, inotify instances, and events waiting in each instance.
    """
    try:
        names = ("max_user_watches", "max_user_instances", "max_queued_events")
        return {name: int((_LIMITS / name).read_text()) for name in names}
    except (OSError, ValueError):
        return {}


@lru_cache(maxsize=1)  # asked every second, and hardly ever another
def parse_mounts(table: bytes) -> tuple[Mount, ...]:
    """Return the lines of a table like /proc/self/mountinfo (proc(5)). Lines of another form are left out."""
    mounts = []
    for line in table.splitlines():
        front, separator, back = line.partition(b" - ")
        fields = front.split(b" ")
        if not separator or len(fields) < 6 or not (fields[0].isdigit() and fields[1].isdigit()):
            continue
        point = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), fields[4])
        kind = os.fsdecode(back.split(b" ")[0])
        mounts.append(Mount(int(fields[0]), int(fields[1]), Path(os.fsdecode(point)), kind))
    return tuple(mounts)


def covering(mounts: Sequence[Mount], path: Path) -> Mount | None:
    """Return the mount that holds `path`, which is absolute and free of symbolic links; None if the table has none."""
    numbers = {mount.number for mount in mounts}
    inside = [mount for mount in mounts if path.is_relative_to(mount.point)]
    # The parent of the outermost mounts is a number that this process cannot see, or their own.
    found = _first_met(mount for mount in inside if mount.parent not in numbers or mount.parent == mount.number)
    seen: Mount | None = None
    while found is not None:
        seen, inside = found, [mount for mount in inside if mount is not found]
        found = _first_met(mount for mount in inside if mount.parent == seen.number)
    return seen


def _first_met(mounts: Iterable[Mount]) -> Mount | None:
    # On the way down the path the shortest mount point is met first, and hides longer ones that were mounted earlier.
    return min(mounts, key=lambda mount: len(mount.point.parts), default=None)


def _is_visible(mounts: Sequence[Mount], mount: Mount) -> bool:
    found = covering(mounts, mount.point)
    return found is not None and found.point == mount.point


def _mounts() -> tuple[Mount, ...]:
    try:
        return parse_mounts(_MOUNT_TABLE.read_bytes())
    except OSError:
        return ()
