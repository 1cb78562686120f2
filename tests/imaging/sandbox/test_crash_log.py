"""A picture that this process died over is decoded in a worker the next time."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phototag.errors import DecodeError
from phototag.imaging.sandbox import crash_log
from phototag.imaging.sandbox.crash_log import CrashLog
from phototag.imaging.sandbox.decoder import Decoder, WholeDecoder
from phototag.settings import cache_folder
from tests.support.commands import run_python
from tests.support.pictures import encoded, scene
from tests.support.sandboxed import PHOTO, SMALL, pids

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files are locked otherwise there")

DYING = """
import sys, time
from pathlib import Path
from phototag.imaging.sandbox import decoder
from tests.support.sandboxed import PHOTO, SMALL
def hang(data, *_, **__):
    print("decoding", flush=True)
    time.sleep(300)
one = decoder.Decoder(SMALL)
one(Path(sys.argv[1]).read_bytes(), PHOTO)
decoder.decode_bytes = hang
one(Path(sys.argv[2]).read_bytes(), PHOTO)
"""


@pytest.fixture
def innocent() -> bytes:
    return encoded(scene(seed=1), "JPEG")


@pytest.fixture
def deadly(tmp_path: Path, innocent: bytes) -> bytes:
    """A picture that a process was killed over, after it decoded another one."""
    data = encoded(scene(seed=2), "PNG")
    (tmp_path / "innocent.jpg").write_bytes(innocent)
    (tmp_path / "deadly.png").write_bytes(data)
    with run_python(DYING, tmp_path / "innocent.jpg", tmp_path / "deadly.png") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "decoding\n"
        with Decoder(SMALL) as other:
            other(data, PHOTO)
            assert not pids(other), "what a living process decodes is no suspect"
        process.kill()
    return data


def test_it_is_isolated_from_then_on_and_others_are_not(deadly: bytes, innocent: bytes) -> None:
    for _ in range(2):
        with Decoder(SMALL) as one:
            assert one(innocent, PHOTO)[1:] == (120, 80)
            assert not pids(one)
            assert one(deadly, PHOTO)[1:] == (120, 80)
            assert len(pids(one)) == 1


def test_it_is_isolated_for_training_too(deadly: bytes) -> None:
    with WholeDecoder(64) as one:
        assert one(deadly, PHOTO).size == (120, 80)
        assert len(pids(one)) == 1


def test_nothing_is_left_but_the_suspects(deadly: bytes, innocent: bytes) -> None:
    with Decoder(SMALL) as one, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: one(innocent, PHOTO), range(20)))
    assert [path.name for path in (cache_folder() / "decoding").iterdir()] == ["suspects"]


def test_what_was_done_with_is_no_suspect(innocent: bytes) -> None:
    one = Decoder(SMALL)
    one(innocent, PHOTO)
    with pytest.raises(DecodeError):
        one(innocent[:500], PHOTO)
    del one  # as if it had been killed: never closed
    with Decoder(SMALL) as another:
        another(innocent, PHOTO)
        assert not pids(another)


def test_every_thread_of_a_process_that_died_has_its_picture(tmp_path: Path) -> None:
    contents = [b"%d" % number for number in range(8)]
    code = (
        "import os, sys, threading; from pathlib import Path\n"
        "from phototag.imaging.sandbox.crash_log import CrashLog\n"
        "log, met = CrashLog(Path(sys.argv[1])), threading.Barrier(8)\n"
        "def hold(data):\n"
        "    log.begin(data); met.wait(); os.kill(os.getpid(), 9)\n"
        "for number in range(8): threading.Thread(target=hold, args=(b'%d' % number,)).start()"
    )
    with run_python(code, tmp_path) as process:
        process.wait(60)
    log = CrashLog(tmp_path)
    assert all(log.is_suspect(data) for data in contents)
    assert not log.is_suspect(b"another")


def test_only_the_last_suspects_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash_log, "_MOST_SUSPECTS", 3)
    for number in range(5):
        (tmp_path / f"{number}.now").write_bytes(crash_log._key(b"%d" % number))
        log = CrashLog(tmp_path)
        log.close()
    assert [log.is_suspect(b"%d" % number) for number in range(5)] == [False, False, True, True, True]


@pytest.mark.parametrize("trouble", ["a file in its place", "no room", "pipes"])
def test_without_a_folder_pictures_are_decoded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, innocent: bytes, trouble: str
) -> None:
    folder = cache_folder() / "decoding"
    if trouble == "a file in its place":
        folder.parent.mkdir(parents=True)
        folder.write_bytes(b"")
    elif trouble == "no room":
        monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    else:
        folder.mkdir(parents=True)
        os.mkfifo(folder / "suspects")
        os.mkfifo(folder / "1.now")
    with Decoder(SMALL) as one:
        assert one(innocent, PHOTO)[1:] == (120, 80)
        assert not pids(one)
