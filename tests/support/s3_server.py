"""A small S3 server for tests: buckets are dictionaries, keys may be anything, and it fails when it is told to."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import gmtime, strftime, time
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

_REASONS = {403: "AccessDenied", 404: "NoSuchKey", 412: "PreconditionFailed", 503: "SlowDown"}


@dataclass(frozen=True)
class StoredObject:
    """The bytes of an object and when it was put."""

    data: bytes
    modified: float = field(default_factory=lambda: float(int(time())))

    @cached_property
    def etag(self) -> str:
        """What real servers say of objects that were put in one part, and say at once."""
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'


class S3Server:
    """Buckets of objects behind `url`.

    Attributes:
        buckets: Objects by key by the name of the bucket.
        requests: How many there were, by operation: LIST, GET, HEAD.
        busy: So many requests to come are answered with 503.
        cut: So many downloads to come break off in the middle.
        denied: Keys that may not be read.
        before_get: Called with the key before an object is looked up.
        unordered: Whether keys are listed in reverse.
        most_keys: The size of a page, if that is smaller than what was asked for.
    """

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, StoredObject]] = {}
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.buckets.clear()
        self.requests: Counter[str] = Counter()
        self.busy = self.cut = 0
        self.denied: set[str] = set()
        self.before_get = lambda _key: None
        self.unordered = False
        self.most_keys = 1000

    def put(self, bucket: str, key: str, data: bytes, **values: float) -> None:
        """Store an object."""
        self.buckets.setdefault(bucket, {})[key] = StoredObject(data, **values)

    def takes(self, what: str) -> bool:
        """Return whether a failure of that kind is due, and count it."""
        with self._lock:
            left = getattr(self, what)
            if left:
                setattr(self, what, left - 1)
            return bool(left)

    @contextmanager
    def running(self) -> Iterator[S3Server]:
        """Answer requests meanwhile."""
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()


def _handler(server: S3Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self._answer_object("HEAD")

        def do_GET(self) -> None:
            self._answer_object("GET")

        def _answer_object(self, operation: str) -> None:
            parts = urlsplit(self.path, allow_fragments=False)
            # Not `parts.path`: that takes what stands between two slashes for a host.
            bucket, _, key = self.path.partition("?")[0][1:].partition("/")
            key = unquote(key)
            server.requests[operation if key else "LIST"] += 1
            if server.takes("busy"):
                self._refuse(503)
            elif bucket not in server.buckets:
                self._refuse(404, "NoSuchBucket")
            elif not key:
                self._list(bucket, {name: values[0] for name, values in parse_qs(parts.query).items()})
            else:
                if operation == "GET":
                    server.before_get(key)
                found = server.buckets[bucket].get(key)
                if key in server.denied:
                    self._refuse(403)
                elif found is None:
                    self._refuse(404)
                else:
                    self._send_object(found)

        def _send_object(self, found: StoredObject) -> None:
            if self.headers.get("If-Match", found.etag) != found.etag:
                self._refuse(412)
                return
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            data = found.data[start:]
            self.send_response(206 if start else 200)
            self.send_header("ETag", found.etag)
            self.send_header("Last-Modified", formatdate(found.modified, usegmt=True))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if len(data) > 1 and server.takes("cut"):
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            else:
                self.wfile.write(data)

        def _list(self, bucket: str, asked: dict[str, str]) -> None:
            objects = server.buckets[bucket]
            prefix, after = asked.get("prefix", ""), asked.get("continuation-token", "")
            keys = sorted((key for key in objects if key.startswith(prefix)), key=str.encode)
            if asked.get("delimiter"):
                keys = [key for key in keys if asked["delimiter"] not in key[len(prefix) :]]
            keys = [key for key in keys if key.encode() > after.encode()]
            page = keys[: min(int(asked.get("max-keys", "1000")), server.most_keys)]
            more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if len(page) < len(keys) else ""
            listed = "".join(_entry(key, objects[key]) for key in (reversed(page) if server.unordered else page))
            truncated = str(bool(more)).lower()
            body = (
                '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult '
                'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>'
                f"<IsTruncated>{truncated}</IsTruncated>{more}{listed}</ListBucketResult>"
            )
            self._send(200, body)

        def _refuse(self, status: int, code: str | None = None) -> None:
            self._send(status, f"<Error><Code>{code or _REASONS[status]}</Code><Message>no</Message></Error>")

        def _send(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def _entry(key: str, found: StoredObject) -> str:
    at = strftime("%Y-%m-%dT%H:%M:%S.000Z", gmtime(found.modified))
    return (
        f"<Contents><Key>{quote(key)}</Key><LastModified>{at}</LastModified><ETag>{escape(found.etag)}</ETag>"
        f"<Size>{len(found.data)}</Size></Contents>"
    )
