"""Writing over what is there: whole or not at all, into what cannot be replaced, and with nothing left behind."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from phototag.errors import UsageError
from phototag.files import atomic_write, check_writable, keeps_locks, partial_path, replacing, sweep
from tests.support.commands import run_python


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_a_link_stays_one_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real.csv").write_text("old")
    for name, target in (("link", "far/real.csv"), ("dangling", "far/new.csv")):
        link = tmp_path / name
        link.symlink_to(target)
        atomic_write(link, b"new")
        assert link.is_symlink()
        assert (tmp_path / target).read_bytes() == b"new"
    assert left_in(tmp_path) == left_in(tmp_path / "far") == []


def test_modes_are_kept_and_new_files_follow_the_umask(tmp_path: Path) -> None:
    file = tmp_path / "private.csv"
    file.write_text("old")
    file.chmod(0o600)
    atomic_write(file, b"new")
    assert mode(file) == 0o600
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "new.csv", b"new")
        with replacing(tmp_path / "people.db", private=True) as partial:
            partial.unlink()  # as some libraries do
            partial.write_bytes(b"names")
    finally:
        os.umask(before)
    assert mode(tmp_path / "new.csv") == 0o640
    assert mode(tmp_path / "people.db") == 0o600


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    atomic_write(pipe, b"through the pipe")
    reader.join(timeout=20)
    assert got == [b"through the pipe"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_file_with_two_names_keeps_both(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    first.write_text("old")
    second.hardlink_to(first)
    atomic_write(first, b"new")
    assert second.read_bytes() == b"new"


def test_what_is_open_already_is_written_into(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from phototag.files import atomic_write; atomic_write(Path('/dev/stdout'), b'data')"
    )
    with (tmp_path / "out.txt").open("wb") as file:
        before = os.fstat(file.fileno()).st_ino
        process = run_python(
            "import os, sys; os.dup2(int(sys.argv[1]), 1); " + code, file.fileno(), pass_fds=[file.fileno()]
        )
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert (tmp_path / "out.txt").read_bytes() == b"data"
    assert (tmp_path / "out.txt").stat().st_ino == before


@pytest.mark.parametrize("name", ["n" * 255, "日" * 85])
def test_the_longest_names_that_the_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    atomic_write(tmp_path / name, b"data")
    assert (tmp_path / name).read_bytes() == b"data"
    with pytest.raises(UsageError, match="File name too long"):
        atomic_write(tmp_path / f"{name}n", b"data")


def test_a_protected_file_is_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "kept"
    file.write_text("old")
    file.chmod(0o400)
    if os.access(file, os.W_OK):
        pytest.skip("root may write to any file")
    with pytest.raises(UsageError, match="Permission denied"):
        atomic_write(file, b"new")


def test_whether_a_file_can_be_written_is_found_out_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "folder" / "file")
    assert (tmp_path / "file").read_text() == "old"
    assert left_in(tmp_path) == []
    for wrong in (tmp_path, tmp_path / "file" / "below", tmp_path / ("n" * 300)):
        with pytest.raises(UsageError, match="cannot be written"):
            check_writable(wrong)


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from phototag.files import partial_path\n"
        "part = partial_path(Path(sys.argv[1])); part.write_text('half'); Path(f'{part}-journal').write_text('half')\n"
        "print(part.name, flush=True); os._exit(1)"
    )
    process = run_python(code, tmp_path / "photos.db")
    process.communicate(timeout=120)
    in_hand = partial_path(tmp_path / "photos.db")
    in_hand.write_text("being written")
    other = tmp_path / ".somebody.else.partial"
    other.write_text("of another program")
    assert len(left_in(tmp_path)) == 4
    sweep(tmp_path)
    assert left_in(tmp_path) == sorted([in_hand.name, other.name])


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(RuntimeError), replacing(file) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert file.read_text() == "old"
    assert left_in(tmp_path) == []


def test_this_file_system_keeps_locks(tmp_path: Path) -> None:
    assert keeps_locks(tmp_path / "photos.db")
    assert left_in(tmp_path) == []
