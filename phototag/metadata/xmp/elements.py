"""The elements of an XML text with the place of each in its bytes, to read and to edit without touching the rest.

Positions are byte offsets in the UTF-8 form of the text, which `Encoded` turns back into what the file holds.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from xml.parsers import expat

from phototag.errors import PhotoTagError

MAX_BYTES = 32 << 20
MAX_DEPTH = 100
MAX_ELEMENTS = 250_000  # each takes some hundred bytes of memory, and four in a file

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNMARKED = ((b"<\0\0\0", "utf-32-le"), (b"\0\0\0<", "utf-32-be"), (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
# Those in which ASCII stands for itself. Python has others, as UTF-7 and even ZIP, that are no encodings of texts.
_SINGLE = re.compile(
    r"(us-)?ascii|utf-?8|(iso-?8859-|windows-125|cp125)\d{1,2}|latin-?1|koi8-[ru]|macintosh|gb(k|2312|18030)|big5"
    r"|shift[-_]jis|euc-(jp|kr)"
)
_TAG_MARK = re.compile(rb"[\"'>]")


class XmpError(PhotoTagError):
    """Raised when a packet cannot be read, or changed without loss; the text is the reason."""

    @property
    def reason(self) -> str:
        """What is wrong, without the path."""
        return str(self)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The text of a packet as UTF-8, and how the file writes it down."""

    utf8: bytes
    codec: str
    bom: bytes

    def encode(self, utf8: bytes) -> bytes:
        """Return another text in the encoding of this one."""
        return self.bom + (utf8 if self.codec == "utf-8" else utf8.decode().encode(self.codec))

    def can_write(self, text: str) -> bool:
        """Return whether the encoding has all of these characters."""
        try:
            text.encode(self.codec)
        except UnicodeEncodeError:
            return False
        return True


def decode_packet(data: bytes) -> Encoded:
    """Return a packet's text; its bytes can be had back exactly.

    Raises:
        XmpError: it is too large, or not in the encoding that it names.
    """
    if len(data) > MAX_BYTES:
        raise XmpError(f"holds more than {MAX_BYTES >> 20} MB")
    bom, codec = next(((bom, codec) for bom, codec in _BOMS if data.startswith(bom)), (b"", ""))
    if not codec:
        codec = next((codec for start, codec in _UNMARKED if data.startswith(start)), "") or _declared(data)
    try:
        text = data[len(bom) :].decode(codec)
        utf8 = text.encode()
        same = utf8 == data[len(bom) :] if codec == "utf-8" else text.encode(codec) == data[len(bom) :]
    except UnicodeError as error:
        raise XmpError(f"is not {codec} as it says: {getattr(error, 'reason', error)}") from None
    if not same:
        raise XmpError(f"is {codec} of a kind that cannot be written back unchanged")
    return Encoded(utf8, codec, bom)


def _declared(data: bytes) -> str:
    found = _DECLARED.match(data[:200])
    name = found[1].decode().lower() if found else "utf-8"
    if name.startswith(("utf-16", "utf-32", "utf16", "utf32")):  # said of what is plainly something else
        return "utf-8"
    if _SINGLE.fullmatch(name):
        try:
            return codecs.lookup(name).name
        except LookupError:
            pass
    raise XmpError(f"is in the unknown encoding {name}")


Name = tuple[str, str]
_ROOT, _DESCRIPTION = (("http://www.w3.org/1999/02/22-rdf-syntax-ns#", local) for local in ("RDF", "Description"))


@dataclass(slots=True, eq=False)
class Element:
    """An element: `start` to `end` in all, `start` to `tag_end` its start tag, `end_start` to `end` its end tag."""

    name: Name
    start: int
    tag_end: int
    is_empty_tag: bool
    attributes: dict[Name, str]
    declared: dict[str, str]
    parent: Element | None
    end_start: int = -1
    end: int = -1
    children: list[Element] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text that stands directly in the element."""
        return "".join(self.pieces)

    def uri_of(self, prefix: str) -> str | None:
        """Return what a namespace's prefix stands for here, None if for nothing."""
        element: Element | None = self
        while element is not None:
            if prefix in element.declared:
                return element.declared[prefix]
            element = element.parent
        return None

    def prefix_of(self, uri: str) -> str | None:
        """Return a prefix that stands for the namespace here, None if none does."""
        element: Element | None = self
        while element is not None:
            for prefix, declared in element.declared.items():
                if declared == uri and prefix and self.uri_of(prefix) == uri:
                    return prefix
            element = element.parent
        return None


class _Builder:
    """Takes what expat finds; `only` names the properties that are of interest, None stands for all."""

    def __init__(self, utf8: bytes, only: Collection[Name] | None) -> None:
        self._utf8 = utf8
        self._only = None if only is None else {f"{uri}\n{local}" for uri, local in only}
        self._skipped = 0
        self._open: list[Element] = []
        self._declared: dict[str, str] = {}
        self._count = 0
        self.root: Element | None = None
        self.parser = expat.ParserCreate("utf-8", namespace_separator="\n")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartNamespaceDeclHandler = self._declare
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) + self._skipped >= MAX_DEPTH:
            raise XmpError(f"is nested more than {MAX_DEPTH} levels deep")
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise XmpError(f"has more than {MAX_ELEMENTS:,} elements")
        parent = self._open[-1] if self._open else None
        if self._skipped or (self._only is not None and self._is_property_of(parent) and name not in self._only):
            # Develop settings and a history of edits are most of many packets.
            self._skipped += 1
            self.parser.CharacterDataHandler = None
            return
        start = self.parser.CurrentByteIndex
        tag_end = self._tag_end(start)
        element = Element(
            name=_split(name),
            start=start,
            tag_end=tag_end,
            is_empty_tag=self._utf8[tag_end - 2 : tag_end] == b"/>",
            attributes={_split(key): value for key, value in attributes.items()},
            declared=self._declared,
            parent=parent,
        )
        self._declared = {}
        if parent is None:
            self.root = element
        else:
            parent.children.append(element)
        self._open.append(element)

    @staticmethod
    def _is_property_of(parent: Element | None) -> bool:
        above = None if parent is None or parent.name != _DESCRIPTION else parent.parent
        return above is not None and above.name == _ROOT

    def _tag_end(self, start: int) -> int:
        quote = b""
        for mark in _TAG_MARK.finditer(self._utf8, start):
            if not quote and mark[0] == b">":
                return mark.end()
            quote = b"" if mark[0] == quote else quote or mark[0]
        raise XmpError("is not well-formed: a tag does not end")

    def _end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
            if not self._skipped:
                self._declared = {}
                self.parser.CharacterDataHandler = self._characters
            return
        element = self._open.pop()
        if element.is_empty_tag:
            element.end_start = element.end = element.tag_end
        else:
            element.end_start = self.parser.CurrentByteIndex
            element.end = self._utf8.index(b">", element.end_start) + 1

    def _characters(self, text: str) -> None:
        self._open[-1].pieces.append(text)

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        self._declared[prefix or ""] = uri or ""

    def _refuse_doctype(self, *_: object) -> None:
        raise XmpError("has a DOCTYPE, which no program writes into XMP")


def parse_elements(utf8: bytes, *, only: Collection[Name] | None = None) -> Element:
    """Return the outermost element of an XML text in UTF-8; of XMP with the properties `only`, where they are elements.

    Raises:
        XmpError: it has a DOCTYPE, too many or too deep elements, or is not well-formed.
    """
    if not utf8.strip():
        raise XmpError("is empty")
    builder = _Builder(utf8, only)
    try:
        builder.parser.Parse(utf8, True)
    except expat.ExpatError as error:
        raise XmpError(f"is not well-formed XML: {error}") from None
    if builder.root is None:  # expat complains of that itself
        raise XmpError("is empty")
    return builder.root


def _split(name: str) -> Name:
    uri, _, local = name.rpartition("\n")
    return uri, local
