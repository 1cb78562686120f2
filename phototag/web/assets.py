"""Static files of the package: scripts and styles, addressed by their content so that they can be kept for ever."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}
# The page of an audit is styled by the same file here as in the HTML that `phototag audit report` writes.
_BORROWED = {
    "blocks.css": ("phototag.report", "templates", "blocks.css"),
    "report.js": ("phototag.report", "templates", "page.js"),
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file; `version` changes with its content."""

    content: bytes
    media_type: str
    version: str


@cache
def assets() -> dict[str, Asset]:
    """Return all static files by name."""
    folder = resources.files("phototag.web") / "static"
    places = {entry.name: entry for entry in folder.iterdir() if entry.is_file()}
    for name, (package, *path) in _BORROWED.items():
        places[name] = resources.files(package).joinpath(*path)
    found = {}
    for name, place in places.items():
        media_type = _TYPES.get(name.rpartition(".")[2])
        if media_type is not None:
            content = place.read_bytes()
            found[name] = Asset(content, media_type, hashlib.sha256(content).hexdigest()[:12])
    return found


def asset_url(name: str) -> str:
    """Return the path of a static file, with its version.

    Raises:
        LookupError: there is no such file.
    """
    return f"/static/{name}?v={assets()[name].version}"


def _static(request: Request) -> Response:
    asset = assets().get(request.path_params["name"])
    if asset is None:
        raise HTTPException(404, "there is no such file")
    etag = f'"{asset.version}"'
    current = request.query_params.get("v") == asset.version
    headers = {"ETag": etag, "Cache-Control": "public, max-age=31536000, immutable" if current else "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


ROUTES: list[BaseRoute] = [Route("/static/{name}", _static)]
