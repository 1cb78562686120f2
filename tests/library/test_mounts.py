"""Which file system holds a folder, what is mounted below it, and the limits of inotify."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phototag.library.mounts import (
    covering,
    file_system,
    inotify_limits,
    is_mount_point,
    is_remote,
    mount_points,
    needs_polling,
    parse_mounts,
)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a mount table to read")

# The outermost mount hangs from a number that the table does not show, and need not come first.
TABLE = rb"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:50 / /mnt/nas rw,relatime shared:2 master:7 - nfs4 server:/photos rw,vers=4.2
41 40 8:1 / /mnt/nas/local rw - xfs /dev/sda1 rw
42 27 0:51 / /mnt/My\040Photos\011\134x rw - fuse.sshfs me@host:/ rw
43 27 0:52 / /mnt/twice rw - ext4 /dev/sdb1 rw
44 43 0:53 / /mnt/twice rw - cifs //server/share rw
45 27 0:54 / /mnt/covered/old rw - vfat /dev/sdc1 rw
46 27 0:55 / /mnt/covered rw - tmpfs none rw
47 46 0:56 / /mnt/covered/new rw - btrfs /dev/sdd1 rw
a line of another form
""".lstrip()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me", "ext4"),
        ("/proc/1", "proc"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/2019/a.jpg", "nfs4"),
        ("/mnt/nas/local/2019", "xfs"),
        ("/mnt/nas2", "ext4"),
        ("/mnt/My Photos\t\\x/2019", "fuse.sshfs"),
        ("/mnt/twice/a", "cifs"),
        ("/mnt/covered/old/a", "tmpfs"),
        ("/mnt/covered/new/a", "btrfs"),
    ],
)
def test_path_lies_on_the_mount_that_is_reached_first(path: str, kind: str) -> None:
    for table in (TABLE, b"\n".join(reversed(TABLE.splitlines()))):
        found = covering(parse_mounts(table), Path(path))
        assert found is not None
        assert found.kind == kind


def test_table_without_the_path_knows_nothing() -> None:
    assert covering(parse_mounts(b""), Path("/home")) is None
    assert covering(parse_mounts(b"22 27 0:21 / /proc rw - proc proc rw"), Path("/home")) is None


def test_mount_point_that_is_not_utf8_keeps_its_bytes() -> None:
    (mount,) = parse_mounts(b"22 27 0:21 / /mnt/caf\xe9 rw - ext4 /dev/sda rw")
    assert bytes(mount.point) == b"/mnt/caf\xe9"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "vboxsf", "fuse.sshfs", "fuse"])
def test_changes_by_other_computers_are_not_seen_on(kind: str) -> None:
    assert is_remote(kind)


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "xfs", "tmpfs", "overlay", "fuseblk", "fuse.mergerfs", "exfat"])
def test_all_changes_are_seen_on(kind: str) -> None:
    assert not is_remote(kind)


@on_linux
def test_this_machine_has_a_mount_table(tmp_path: Path) -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(tmp_path) is not None
    assert needs_polling(Path("/proc")) is None
    assert is_mount_point(Path("/proc"))
    assert not is_mount_point(tmp_path)
    assert Path("/proc") in mount_points([Path("/")])
    assert mount_points([tmp_path]) == set()


@on_linux
def test_limits_of_inotify_are_positive() -> None:
    limits = inotify_limits()
    assert limits.keys() == {"max_user_watches", "max_user_instances", "max_queued_events"}
    assert min(limits.values()) > 0


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A folder on which a file system of its own is mounted; skipped without the right to mount."""
    folder = tmp_path / "library" / "a disk"
    folder.mkdir(parents=True)
    if sys.platform != "linux" or subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=False).returncode:
        pytest.skip("mounting takes Linux and the rights of root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


def test_real_mount_is_found_under_the_name_of_the_root(mounted: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(mounted.parent)
    assert file_system(mounted) == "tmpfs"
    assert file_system(link / "a disk" / "x.jpg") == "tmpfs"
    assert file_system(mounted.parent) != "tmpfs"
    assert mount_points([mounted.parent]) == {mounted}
    assert mount_points([link]) == {link / "a disk"}
    assert mount_points([mounted]) == set()
    assert is_mount_point(link / "a disk")
    subprocess.run(["umount", mounted], check=True)
    assert not is_mount_point(mounted)
    assert mount_points([mounted.parent]) == set()


def test_bind_mount_of_the_same_file_system_is_a_mount_point(mounted: Path) -> None:
    source, target = mounted / "source", mounted / "target"
    source.mkdir()
    target.mkdir()
    subprocess.run(["mount", "--bind", source, target], check=True)
    try:
        assert is_mount_point(target)
        assert mount_points([mounted]) == {target}
    finally:
        subprocess.run(["umount", target], check=True)
