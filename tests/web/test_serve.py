"""`phototag serve` as a process: the link, the port, who may listen, and how it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2 as httpx
import pytest

from phototag.cli import serve
from phototag.records import Rank, Source, Tag
from phototag.store import Query, Store
from tests.support.browser import chromium
from tests.support.commands import RunCommand, RunProcess
from tests.support.pictures import MakePicture
from tests.support.project import SCHEMA_DATABASES
from tests.support.server import ServerProcess
from tests.support.serving import (
    let_in,
)
from tests.support.web import save_photos

# ---- the link


def test_link_stands_alone_on_the_first_line_and_lets_in(server: ServerProcess) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{43}", server.link)
    with httpx.Client(base_url=server.address) as stranger:
        assert stranger.get("/").status_code == 401
        assert stranger.get(server.link).status_code == 303
        assert "<main" in stranger.get("/").text
    said = server.end()
    assert "Ctrl-C" in said
    assert server.link.partition("=")[2] not in said
    assert server.process.returncode == 0


def test_every_start_has_a_token_of_its_own(database: Path) -> None:
    with ServerProcess(database) as first, ServerProcess(database) as second:
        assert first.link.partition("=")[2] != second.link.partition("=")[2]
        with let_in(first) as client:
            cookies = dict(client.cookies)
        with httpx.Client(cookies=cookies) as client:
            assert client.get(second.address).status_code == 401


def test_only_this_computer_can_connect(running: ServerProcess) -> None:
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("this system does not tell who listens where")
    wanted = f":{running.port:04X}"
    addresses = [line.split()[1] for line in listening.read_text().splitlines() if wanted in line and " 0A " in line]
    assert addresses == [f"0100007F{wanted}"]


def test_it_starts_without_what_only_tagging_needs() -> None:
    code = "import sys, phototag.web.app, phototag.web.server, phototag.catalog; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert not {"torch", "openvino", "alembic", "numba", "timm"} & set(done.stdout.decode().split())


# ---- ports and databases


def test_taken_port_is_told(database: Path, running: ServerProcess, phototag_process: RunProcess) -> None:
    done = phototag_process("serve", "--db", database, "--port", str(running.port), "--no-open")
    assert done.returncode == 2
    assert b"is taken" in done.stderr
    assert b"--port" in done.stderr
    assert done.stdout == b""


def test_next_free_port_is_taken_and_told(database: Path) -> None:
    with socket.socket() as usual:
        usual.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            usual.bind(("127.0.0.1", 8765))
            usual.listen()
        except OSError:
            pass  # somebody has it already, which is as good
        environment = [sys.executable, "-m", "phototag", "serve", "--db", os.fspath(database), "--no-open"]
        process = subprocess.Popen(environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        link = process.stdout.readline().decode()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    port = int(re.findall(r":(\d+)/", link)[0])
    assert 8765 < port < 8800
    assert f"this is port {port}".encode() in said


@pytest.mark.parametrize("words", [("--port", "70000"), ("--port", "-1"), ("--cache-size", "much"), ("--host", "")])
def test_options_without_sense_are_refused(
    database: Path, run_phototag: RunCommand, words: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOTAG_PASSWORD", "long enough")
    assert run_phototag("serve", "--db", database, *words).exit_code == 2


def test_address_of_another_computer_is_refused(
    database: Path, run_phototag: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOTAG_PASSWORD", "long enough")
    result = run_phototag("serve", "--db", database, "--host", "192.0.2.1")
    assert result.exit_code == 2
    assert "192.0.2.1" in result.stderr


def test_wrong_address_is_told_before_a_password_is_asked_for(database: Path, run_phototag: RunCommand) -> None:
    result = run_phototag("serve", "--db", database, "--host", "192.0.2.1")
    assert result.exit_code == 2
    assert "192.0.2.1" in result.stderr
    assert "assword" not in result.stderr


def test_missing_database_is_told(tmp_path: Path, run_phototag: RunCommand) -> None:
    result = run_phototag("serve", "--db", tmp_path / "none.db")
    assert result.exit_code == 2
    assert "phototag tag" in result.stderr
    assert not (tmp_path / "none.db").exists()


def test_database_of_an_old_schema_is_told(tmp_path: Path, run_phototag: RunCommand) -> None:
    shutil.copy(SCHEMA_DATABASES / "0001.db", tmp_path / "old.db")
    result = run_phototag("serve", "--db", tmp_path / "old.db")
    assert result.exit_code == 2
    assert "phototag db upgrade" in result.stderr


def test_database_on_a_read_only_disk_is_shown(database: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    folder = tmp_path / "disk"
    folder.mkdir()
    copy = Path(shutil.copy(database, folder / "photos.db"))
    copy.chmod(0o444)
    folder.chmod(0o555)
    try:
        with ServerProcess(copy) as server, let_in(server) as client:
            for path in ("/", "/review", "/audit", "/photos/1/thumbnail"):
                assert client.get(path).status_code == 200, path
    finally:
        folder.chmod(0o755)


def test_others_write_while_it_runs(database: Path, tmp_path: Path, server: ServerProcess) -> None:
    with let_in(server) as client, Store.open(database) as store, store.writing("tag"):
        store.tags.set_human(tmp_path / "0.jpg", superclass="bird", subclass="hawk")
        assert client.get("/").status_code == 200  # and the right to write was free to be taken


# ---- passwords


def test_other_computers_need_a_password_and_are_told_why(database: Path, phototag_process: RunProcess) -> None:
    done = phototag_process("serve", "--db", database, "--host", "0.0.0.0", stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert b"not encrypted" in done.stderr
    assert b"PHOTOTAG_PASSWORD" in done.stderr
    assert done.stdout == b""


@pytest.mark.parametrize("text", ["short\n", "\nlong enough\n"])
def test_short_password_is_refused(database: Path, tmp_path: Path, run_phototag: RunCommand, text: str) -> None:
    (tmp_path / "password").write_text(text)
    result = run_phototag("serve", "--db", database, "--password-file", tmp_path / "password")
    assert result.exit_code == 2
    assert "8 characters" in result.stderr


def test_server_with_a_password_lets_others_in(database: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\r\nsecond line\n")
    arguments = ("--host", "0.0.0.0", "--password-file", os.fspath(tmp_path / "password"), "--allow-host", "photos.lan")
    with ServerProcess(database, *arguments) as server:
        address = f"http://127.0.0.1:{server.port}"
        assert server.link.startswith(f"http://localhost:{server.port}/?token=")
        with httpx.Client(base_url=address) as client:
            assert client.get("/").status_code == 401
            answer = client.post("/login", data={"password": "correct horse"}, headers={"Origin": address})
            assert answer.status_code == 303
            assert client.get("/").status_code == 200
        for host, status in [
            ("photos.lan", 401),
            (f"{socket.gethostname()}:{server.port}", 401),
            ("evil.example", 421),
        ]:
            assert httpx.get(address, headers={"Host": host}).status_code == status
        assert httpx.get(f"http://127.0.0.1:{server.port}/", headers={"Host": "0.0.0.0"}).status_code == 421
        # The user of the computer itself needs none.
        with let_in(server) as client:
            assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    ("host", "address", "names"),
    [
        ("127.0.0.1", "127.0.0.1", ["127.0.0.1"]),
        ("127.1", "127.0.0.1", ["127.0.0.1"]),
        ("localhost", "127.0.0.1", ["localhost"]),
        ("::1", "::1", ["[::1]"]),
        ("192.168.1.7", "192.168.1.7", ["192.168.1.7"]),
        ("photos.lan", "192.168.1.7", ["photos.lan"]),
        *((host, "0.0.0.0", ["localhost", "box", "box.local"]) for host in ("0.0.0.0", "0", "00.0.0.0")),
        ("::0", "::", ["localhost", "box", "box.local"]),
    ],
)
def test_server_is_called_by_its_address(
    host: str, address: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "box")
    assert serve._names(host, address) == names


def test_address_in_the_network_is_that_of_this_computer() -> None:
    assert serve._interface("127.0.0.1") == []
    assert serve._interface("192.168.1.7") == []
    for found in serve._interface("0.0.0.0"):
        with socket.create_server((found, 0)):
            assert not found.startswith("127.")


# ---- browsers


def test_browser_is_opened_with_a_link_that_works_once(database: Path, tmp_path: Path) -> None:
    program, seen = tmp_path / "browser", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}.part && mv {seen}.part {seen}\n')
    program.chmod(0o755)
    with ServerProcess(database, "--open", env={"BROWSER": f"{program} %s"}) as server:
        give_up = time.monotonic() + 120
        while not seen.exists() and time.monotonic() < give_up:
            time.sleep(0.05)
        link = seen.read_text()
        assert link.startswith(f"{server.address}?token=")
        assert link != server.link  # this one can be seen by other users of the computer
        assert [httpx.get(link).status_code for _ in range(2)] == [303, 403]


class OtherSite:
    """A web page of somebody else, on another port."""

    def __init__(self) -> None:
        self.page = ""
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(site.page.encode())

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def address(self, host: str) -> str:
        return f"http://{host}:{self._server.server_port}/"

    def __enter__(self) -> OtherSite:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.slow
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_pages_of_others_get_nothing_from_a_browser_with_a_session(running: ServerProcess, host: str) -> None:
    with chromium() as browser, OtherSite() as site:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        site.page = f'<a href="{running.link}">in</a>'
        page.goto(site.address(host))
        page.click("a")
        page.wait_for_url(running.address)
        assert "Gallery" in page.title()
        site.page = f"""<img src="{running.address}photos/1/thumbnail"><iframe src="{running.address}"></iframe>
            <script src="{running.address}static/base.js"></script>
            <form method="post" action="{running.address}logout"><button>go</button></form>"""
        frames: list[int] = []
        page.on("response", lambda answer: frames.append(answer.status) if answer.url == running.address else None)
        page.goto(site.address(host))
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.querySelector('img').naturalWidth") == 0
        assert page.evaluate("typeof window.phototag") == "undefined"
        assert frames == [403]
        ask = "fetch('{}', {{method: '{}', mode: 'no-cors', credentials: 'include'}}).then(() => 1, () => 0)"
        for method in ("GET", "POST"):
            assert page.evaluate(ask.format(f"{running.address}api/names", method)) == 0
        with page.expect_navigation():
            page.click("button")
        assert "Refused" in page.title()
        page.goto(running.address)
        assert "Gallery" in page.title()


@pytest.mark.slow
def test_password_works_in_a_browser_without_encryption(database: Path, tmp_path: Path) -> None:
    # Of such a server browsers say less about where requests come from.
    (tmp_path / "password").write_text("correct horse")
    arguments = ("--host", "0.0.0.0", "--password-file", os.fspath(tmp_path / "password"), "--allow-host", "photos.lan")
    with (
        ServerProcess(database, *arguments) as server,
        chromium("--host-resolver-rules=MAP photos.lan 127.0.0.1") as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(f"http://photos.lan:{server.port}/review")
        for password in ("wrong horse", "correct horse"):
            page.fill("#password", password)
            with page.expect_navigation():
                page.click("button.primary")
        assert page.url == f"http://photos.lan:{server.port}/review"
        assert "Review" in page.title()
        page.goto(f"http://photos.lan:{server.port}/")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("[...document.images].some(image => image.naturalWidth > 0)")
        page.click(".sign-out button")
        page.wait_for_url("**/login")
        assert page.goto(f"http://photos.lan:{server.port}/").status == 401  # type: ignore[union-attr]


@pytest.mark.slow
def test_browser_shows_why_there_is_no_picture(database: Path, tmp_path: Path) -> None:
    (tmp_path / "1.jpg").unlink()
    with ServerProcess(database) as server, chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.goto(server.link)
        page.wait_for_load_state("networkidle")
        size = (
            "async path => { const image = new Image(); image.src = path; await image.decode(); return image.width; }"
        )
        assert page.evaluate(size, "/photos/1/thumbnail") == 96
        assert page.evaluate(size, "/photos/2/thumbnail") == 320
        assert not [text for text in problems if "Content Security Policy" in text]


def test_verbose_tells_what_is_asked_without_the_token(database: Path) -> None:
    with ServerProcess(database, "--verbose") as server:
        with let_in(server) as client:
            client.get("/static/base.css?v=1")
        said = server.end()
    assert "GET /static/base.css 200" in said
    assert "GET / 303" in said
    assert server.link.partition("=")[2] not in said


# ---- the end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_at_once_and_well(server: ServerProcess, number: signal.Signals) -> None:
    with let_in(server) as client:  # which keeps its connection open, as a browser does
        assert client.get("/photos/1/thumbnail").status_code == 200
        start = time.monotonic()
        said = server.end(number)
        assert time.monotonic() - start < 12.0  # a second, where nothing else runs; the connection would be kept for 15
    assert server.process.returncode == 0
    assert "Traceback" not in said
    assert "Error" not in said


def test_request_that_waits_does_not_keep_it_from_ending(database: Path, server: ServerProcess) -> None:
    answers: list[int] = []
    with Store.open(database) as store:
        photo = store.photos.find(1)
    assert photo is not None
    assert photo.content_hash is not None
    version = photo.content_hash.hex()[:8]

    def ask() -> None:
        body = {"superclass": "bird", "subclass": "hawk", "version": version, "token": "token-0001"}
        try:
            with let_in(server) as client:
                answers.append(client.post("/api/photos/1/review", json=body, timeout=120).status_code)
        except httpx.TransportError:
            answers.append(0)

    with Store.open(database) as store, store.writing("tag"):  # which the review waits for
        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(1.0)
        start = time.monotonic()
        said = server.end()
        took = time.monotonic() - start
        thread.join()
    assert took < 8.0  # the review would wait for 10
    assert server.process.returncode == 0
    assert "Traceback" not in said
    assert answers in ([0], [503])
    assert human_tags(database) == 0


def test_workers_end_with_a_killed_server(server: ServerProcess) -> None:
    with let_in(server) as client:
        assert client.get("/photos/1/thumbnail").status_code == 200
    tasks = list(Path(f"/proc/{server.process.pid}/task").glob("*/children"))
    if not tasks:
        pytest.skip("this system does not tell which processes another one started")
    workers = [int(number) for task in tasks for number in task.read_text().split()]
    assert workers
    server.kill()
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up and any(_runs(number) for number in workers):
        time.sleep(0.05)
    assert not any(_runs(number) for number in workers)


def _runs(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def human_tags(database: Path) -> int:
    with Store.open(database) as store:
        return store.count(Query(source=Source.HUMAN))


def test_tagging_goes_on_beside_it(
    database: Path, tmp_path: Path, server: ServerProcess, make_picture: MakePicture
) -> None:
    with let_in(server) as client:
        save_photos(database, [make_picture(tmp_path / "new.jpg")], Tag("dog", "beagle", Rank.SUBCLASS, 0.9, 0.8, 0.1))
        assert client.get("/photos/4/thumbnail").status_code == 200
