"""Ray, started or joined so that nobody else gets in: token, loopback, no telemetry and no dashboard."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from phototag.errors import RuntimeUnavailableError
from phototag.text import first_line

OLDEST = (2, 60)
_OBJECT_STORE_BYTES = 256 << 20
_ANSWER_SECONDS = 10.0
_MISSING = "phototag tag --cluster needs Ray: pip install 'phototag[ray]'"
_TOKENS = "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"


class RaySession:
    """A connection to Ray: to a cluster of its own on this computer, on loopback only, or to one that runs.

    Close it, or use it in a `with`.

    Args:
        address: `auto` or HOST:PORT; None starts one.
        cores: Of a cluster of its own; None is all.
    """

    def __init__(self, address: str | None = None, *, cores: int | None = None) -> None:
        self.address, self._cores = address, cores
        self._ray: Any = None
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ray(self) -> Any:
        """The module, connected: started or joined when it is first asked for.

        Raises:
            RuntimeUnavailableError: Ray is not installed or too old, or no cluster lets this computer in.
        """
        if self._ray is None:
            self._connect(self.address)
        return self._ray

    def _connect(self, address: str | None) -> None:
        token = Path.home() / ".ray" / "auth_token"
        if address is None:
            # For this one cluster; its processes inherit it.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        elif not (os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH") or token.is_file()):
            raise RuntimeUnavailableError(f"{address}: a Ray cluster is joined with its token; put it into {_TOKENS}")
        self._ray = _import_ray()
        try:
            if address is None:
                self._start()
            else:
                self._join(address)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave the cluster; one of its own ends."""
        if self._ray is not None:
            with suppress(Exception):  # of a cluster that is gone already
                self._ray.shutdown()
            self._ray = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        from ray._private import ray_constants

        # On Linux Ray would listen on the computer's outward address, whatever address it is given.
        ray_constants.ENABLE_RAY_CLUSTER = False
        self._folder = Path(tempfile.mkdtemp(prefix="phototag-ray-"))
        try:
            self._init(
                address="local",
                num_cpus=self._cores,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                _temp_dir=str(self._folder),
            )
        except Exception as error:  # Ray raises just that where the computer is too busy to start it in half a minute
            raise RuntimeUnavailableError(f"Ray does not start on this computer: {first_line(error)}") from error

    def _join(self, address: str) -> None:
        from ray._private import services

        try:
            found = services.canonicalize_bootstrap_address_or_die(address)
            _check_answer(address, found)
            with _nothing_on_stderr():  # a wrong token would be said twenty times there before it is an error
                self._init(address=found)
        except (ConnectionError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
            raise RuntimeUnavailableError(
                f"{address}: no Ray cluster lets this computer in: none runs there, it has another token ({_TOKENS}), "
                f"or this computer is none of it (ray start --address): {first_line(error)}"
            ) from error

    def _init(self, **options: Any) -> None:
        from ray._private import worker

        before = signal.getsignal(signal.SIGTERM)
        # What workers and Ray itself have to say is in Ray's own log files. It would print news of dead workers to
        # stdout, which is for data.
        worker.print_to_stdstream = _say_nothing
        self._ray.init(log_to_driver=False, configure_logging=True, logging_level="CRITICAL", **options)
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own aborts, and nothing is put in order


def _check_answer(address: str, found: str) -> None:
    """Raise RuntimeUnavailableError where nothing listens: Ray would try for minutes, and say so line by line."""
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise RuntimeUnavailableError(
            f"{address}: no Ray cluster answers at {found} ({error.strerror or error}); give the address of its head, "
            "as 'ray start --head' says it"
        ) from error


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """Throw away what this process says on stderr, also from code that is not Python."""
    stderr = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _say_nothing(*_: object, **__: object) -> None:
    pass


def _import_ray() -> Any:
    # Ray reads both while it is imported, and so do its processes.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="token")
    try:
        import ray
    except ImportError as error:
        raise RuntimeUnavailableError(_MISSING) from error
    if tuple(map(int, ray.__version__.split(".")[:2])) < OLDEST:
        raise RuntimeUnavailableError(f"Ray {ray.__version__} is too old, and not safe; {_MISSING.partition(': ')[2]}")
    if not demands_token():
        raise RuntimeUnavailableError("Ray was imported without RAY_AUTH_MODE=token before; set that, and start again")
    return ray


def demands_token() -> bool:
    """Return whether Ray asks for tokens in this process; in a worker, whether its cluster was started so."""
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    return bool(is_token_auth_enabled())
