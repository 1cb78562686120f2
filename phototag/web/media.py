"""Pictures of photos, by their number: small copies, never the files themselves."""

from __future__ import annotations

import asyncio
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from phototag.errors import DecodeError
from phototag.imaging import ThumbnailSize
from phototag.records import FailureKind, PhotoState
from phototag.text import printable
from phototag.web import respond
from phototag.web.context import context_of

_KEPT = "private, max-age=31536000, immutable"
_CHECKED = "private, no-cache"
_WORDS = {
    FailureKind.GONE: "The file is gone",
    FailureKind.PERMISSION: "No permission to read it",
    FailureKind.BUSY: "Too busy to show it",
}
_CHARACTERS_A_LINE = 30


async def _answer(request: Request, *, size: ThumbnailSize) -> Response:
    context = context_of(request)
    thumbnails = context.thumbnails
    run = asyncio.get_running_loop().run_in_executor
    photo_id: int = request.path_params["photo_id"]
    photo = await run(thumbnails.readers, context.store.photos.find, photo_id)
    if photo is None:
        raise HTTPException(404, f"there is no photo {photo_id}")
    content_hash = photo.content_hash
    if content_hash is None:
        left_out = photo.state is PhotoState.UNSUPPORTED
        return _placeholder("Of a format not read here" if left_out else "It could not be read when it was tagged")
    headers = _caching(request, content_hash, size)
    # What a browser has under that name is right whatever became of the file: the name is made of the content.
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    content = await run(thumbnails.readers, thumbnails.find, content_hash, size)
    if content is None:
        try:
            # Shielded: others may wait for the same picture when this browser no longer does.
            content = await asyncio.shield(asyncio.wrap_future(thumbnails.make(photo.path, content_hash, size)))
        except DecodeError as error:
            return _placeholder(_words(error))
    return Response(content, headers=headers, media_type="image/jpeg")


def _caching(request: Request, content_hash: bytes, size: ThumbnailSize) -> dict[str, str]:
    digest = content_hash.hex()
    version = request.query_params.get("v", "")
    return {
        "ETag": f'"{digest[:32]}-{size.longest}"',
        "Cache-Control": _KEPT if version and version == digest[:8] else _CHECKED,
    }


def _words(error: DecodeError) -> str:
    return _WORDS.get(FailureKind(error.kind), error.reason[:1].upper() + error.reason[1:])


def _placeholder(text: str) -> Response:
    """Return a picture that says why there is none."""
    shown = printable(text)
    content = respond.fill("placeholder.svg", text=shown, lines=_lines(shown))
    return Response(content, 404, media_type="image/svg+xml")


def _lines(text: str) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) >= _CHARACTERS_A_LINE and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [line[:_CHARACTERS_A_LINE] for line in lines[:4]]


ROUTES: list[BaseRoute] = [
    Route("/photos/{photo_id:id}/thumbnail", partial(_answer, size=ThumbnailSize.THUMBNAIL)),
    Route("/photos/{photo_id:id}/picture", partial(_answer, size=ThumbnailSize.PICTURE)),
]
