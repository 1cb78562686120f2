"""Read what an XMP packet says: keywords, rating, label and dates. Whatever form a property has is understood."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from phototag.metadata.xmp.elements import Element, Name, XmpError, decode_packet, parse_elements
from phototag.metadata.xmp.properties import (
    KEYWORD_PROPERTIES,
    PHOTOSHOP,
    PROPERTY_OF,
    RDF,
    comparable,
    descriptions,
    find_rdf,
    list_items,
    list_of,
)

_EXIF = "http://ns.adobe.com/exif/1.0/"
_XMP = "http://ns.adobe.com/xap/1.0/"
_ACDSEE = ("http://ns.acdsee.com/iptc/1.0/", "categories")
_RATING = (_XMP, "Rating")
_LABEL = (_XMP, "Label")
# The moment of exposure, before those that a scanner or a program may have set.
_TAKEN = ((_EXIF, "DateTimeOriginal"), (PHOTOSHOP, "DateCreated"), (_XMP, "CreateDate"))
SIDECAR_FOR = (PHOTOSHOP, "SidecarForExtension")
# Each element below one copies its path.
_LONGEST_PATH = 1000
_NOTHING: Mapping[str, Collection[str]] = {}
_READ = frozenset(
    (
        *(name for keyword_property in KEYWORD_PROPERTIES for name in keyword_property.names),
        *(_ACDSEE, _RATING, _LABEL, *_TAKEN, SIDECAR_FOR, (_EXIF, "GPSLatitude"), (_EXIF, "GPSLongitude")),
    )
)
_DEGREES = re.compile(r"(\d{1,3}),(\d{1,2}(?:\.\d+)?)(?:,(\d{1,2}(?:\.\d+)?))?([NSEW])")


@dataclass(frozen=True, slots=True)
class XmpFacts:
    """What a packet says.

    Args:
        flat: The keywords of dc:subject.
        hierarchical: The keywords of all properties with levels; levels joined by "|", outermost first, each once.
        rating: Stars from 1 to 5, 0 for none, -1 for rejected.
        label: The colour label's text.
        taken: The date of exposure as it stands there, in ISO 8601, often without a zone.
        latitude: Degrees, north positive.
        longitude: Degrees, east positive.
        sidecar_for: The suffix of the file that a sidecar says it belongs to, without the dot.
    """

    flat: tuple[str, ...] = ()
    hierarchical: tuple[str, ...] = ()
    rating: int | None = None
    label: str | None = None
    taken: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    sidecar_for: str | None = None

    def over(self, other: XmpFacts) -> XmpFacts:
        """Return what both packets of a photo say together; what both say differently, as this one says it."""
        place = self if self.latitude is not None else other
        return XmpFacts(
            flat=tuple(dict.fromkeys((*self.flat, *other.flat))),
            hierarchical=tuple(dict.fromkeys((*self.hierarchical, *other.hierarchical))),
            rating=other.rating if self.rating is None else self.rating,
            label=self.label or other.label,
            taken=self.taken or other.taken,
            latitude=place.latitude,
            longitude=place.longitude,
            sidecar_for=self.sidecar_for or other.sidecar_for,
        )


def read_packet(data: bytes, *, without: Mapping[str, Collection[str]] = _NOTHING) -> XmpFacts:
    """Return what an XMP packet, or a sidecar, says.

    Args:
        data: The packet.
        without: Keywords that do not count, by the property that they stand in ("dc:subject"), as they stand there. In
            other properties that have levels they do not count either: programs copy keywords from one to the other.

    Raises:
        XmpError: it is no packet that can be read; the text is the reason.
    """
    rdf = find_rdf(parse_elements(decode_packet(data).utf8, only=_READ))
    found: dict[Name, list[str]] = {}
    for description in descriptions(rdf):
        for name, value in description.attributes.items():
            found.setdefault(name, []).append(value)
        for child in description.children:
            found.setdefault(child.name, []).extend(_values(child))
    flat: tuple[str, ...] = ()
    hierarchical: list[str] = []
    left_out = {label: {comparable(_path(value, label)) for value in values} for label, values in without.items()}
    anywhere = {path for paths in left_out.values() for path in paths if "|" in path}
    for keyword_property in KEYWORD_PROPERTIES:
        label = keyword_property.label
        values = _clean(value for name in keyword_property.names for value in found.get(name, ()))
        paths = (_path(value, label) for value in values)
        keywords = tuple(path for path in paths if comparable(path) not in left_out.get(label, anywhere))
        if keyword_property.separator is None:
            flat = keywords
        else:
            hierarchical += keywords
    hierarchical += (path for path in _acdsee_keywords(found.get(_ACDSEE, ())) if comparable(path) not in anywhere)
    latitude, longitude = (
        _degrees(_first(found, (_EXIF, "GPSLatitude")), "NS", 90),
        _degrees(_first(found, (_EXIF, "GPSLongitude")), "EW", 180),
    )
    placed = latitude is not None and longitude is not None
    return XmpFacts(
        flat=flat,
        hierarchical=tuple(dict.fromkeys(hierarchical)),
        rating=_rating(_first(found, _RATING)),
        label=_first(found, _LABEL),
        taken=next((date for name in _TAKEN if (date := _first(found, name))), None),
        latitude=latitude if placed else None,
        longitude=longitude if placed else None,
        sidecar_for=_first(found, SIDECAR_FOR),
    )


def _path(keyword: str, label: str) -> str:
    """Return a keyword with "|" between its levels, whatever its property has there."""
    known = PROPERTY_OF.get(label)
    return keyword if known is None or known.separator is None else keyword.replace(known.separator, "|")


def _values(element: Element) -> Iterator[str]:
    """Yield the values of a property: its list's, or its own text, or where it points to."""
    container = list_of(element)
    if container is not None:
        for item in list_items(container):
            # An item with qualifiers says its value in an element of its own.
            yield item.text.strip() or next((child.text for child in item.children if child.name == (RDF, "value")), "")
    elif element.text.strip():
        yield element.text
    else:
        yield element.attributes.get((RDF, "resource"), "")


def _clean(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for value in values if (text := value.strip())))


def _first(found: dict[Name, list[str]], name: Name) -> str | None:
    return next((text for value in found.get(name, ()) if (text := value.strip())), None)


def _rating(text: str | None) -> int | None:
    try:
        rating = round(float(text)) if text else None
    except (ValueError, OverflowError):
        return None
    return rating if rating is not None and -1 <= rating <= 5 else None


def _degrees(text: str | None, directions: str, most: int) -> float | None:
    """Return degrees from "48,12.345N" or "48,12,20N" (XMP specification, part 2, GPSCoordinate)."""
    found = _DEGREES.fullmatch(text or "")
    if found is None or found[4] not in directions:
        return None
    degrees = int(found[1]) + float(found[2]) / 60 + float(found[3] or 0) / 3600
    if degrees > most:
        return None
    return degrees if found[4] == directions[0] else -degrees


def _acdsee_keywords(texts: Iterable[str]) -> Iterator[str]:
    """Yield the assigned categories of ACDSee, which are XML in a text: the outer levels surround the inner ones."""
    for text in texts:
        try:
            root = parse_elements(text.strip().encode())
        except (XmpError, UnicodeError):  # what is in a foreign property never spoils the rest
            continue
        open_ = [(root, "")]
        while open_:
            element, above = open_.pop()
            for child in reversed(element.children):
                name = (child.pieces[0] if child.pieces else "").strip()
                path = f"{above}|{name}" if above else name
                if len(path) <= _LONGEST_PATH:
                    open_.append((child, path))
            if above and element.attributes.get(("", "Assigned")) == "1":
                yield above
