"""A PostgreSQL server for the tests of a session, run as an ordinary user in a temporary folder, and its databases."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from phototag.database import metadata
from phototag.store import Store

_USERS = ("postgres", "nobody")
# Nothing has to survive: the server's disk is never waited for.
_SETTINGS = (
    *("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=", "max_connections=150"),
    *("shared_buffers=32MB", "autovacuum=off", "wal_level=minimal", "max_wal_senders=0", "log_min_messages=fatal"),
)
_TEMPLATE = "phototag_template"


class Server:
    """A server that answers at a socket in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = count()

    def url(self, database: str, **query: str) -> str:
        """The URL of a database here, for phototag."""
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"postgresql://phototag@/{database}?host={self.folder}{more}"

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run one statement as the server's owner, outside a transaction."""
        import psycopg

        with psycopg.connect(f"host={self.folder} user=phototag dbname={database}", autocommit=True) as connection:
            cursor = connection.execute(sql)  # type: ignore[call-overload]  # no user's text is in it
            return cursor.fetchall() if cursor.description is not None else []

    def empty(self, database: str) -> None:
        """Leave nothing in a database of phototag's but empty tables, and nobody connected to it."""
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        tables = ", ".join(table.name for table in metadata.sorted_tables if table.name != "revision")
        self.execute(f"TRUNCATE {tables} RESTART IDENTITY", database)
        self.execute("UPDATE revision SET number = 0, writer = 0, tagger = 0", database)

    @contextmanager
    def database(self, *, empty: bool = False, encoding: str = "UTF8") -> Iterator[str]:
        """The name of a new database, with phototag's tables unless `empty`, which is dropped in the end."""
        name = f"photos_{next(self._numbers)}"
        template = "template0" if empty else _TEMPLATE
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def running_server() -> Iterator[Server]:
    """Start a server, and stop it in the end; skips the test where that cannot be."""
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed: pip install 'phototag[postgres]'")
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="phototag-pg-", dir="/tmp"))  # a socket's path has to be short
    as_user = _as_ordinary_user(folder)
    data = folder / "data"

    def run(*words: str | Path) -> None:
        done = subprocess.run(
            [*as_user, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            timeout=120,
            env={**os.environ, "HOME": str(folder)},
        )
        if done.returncode != 0:
            pytest.skip(f"PostgreSQL does not start here: {(done.stderr or done.stdout).strip()[-300:]}")

    try:
        run(programs / "initdb", "-D", data, "-U", "phototag", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = " ".join(f"-c {setting}" for setting in _SETTINGS)
        run(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", f"{options} -k {folder}", "start")
        try:
            server = Server(folder)
            server.execute(f"CREATE DATABASE {_TEMPLATE}")
            Store.open(server.url(_TEMPLATE)).close()
            yield server
        finally:
            run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of initdb and pg_ctl; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "pg_ctl").is_file():
            return folder
    pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")


def _as_ordinary_user(folder: Path) -> list[str]:
    """What goes before a command so that it is not run by root, which PostgreSQL refuses; they own `folder` then."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    known = [name for name in _USERS if any(user.pw_name == name for user in pwd.getpwall())]
    if setpriv is None or not known:
        pytest.skip("PostgreSQL is not run by root, and there is no ordinary user to run it: postgres or nobody")
    user = pwd.getpwnam(known[0])
    os.chown(folder, user.pw_uid, user.pw_gid)
    return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The one server of a session; where there can be none, tests that ask for it are skipped."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def _reused_database(postgres_server: Server) -> Iterator[str]:
    with postgres_server.database() as name:
        yield name


@pytest.fixture
def postgres_url(postgres_server: Server, _reused_database: str) -> str:
    """The URL of a database with phototag's tables, and nothing in them."""
    postgres_server.empty(_reused_database)
    return postgres_server.url(_reused_database)
