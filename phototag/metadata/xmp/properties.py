"""The properties of XMP that hold keywords, and where in a packet they stand."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from phototag.metadata.xmp.elements import Element, Name, XmpError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
XMP_NOTE = "http://ns.adobe.com/xmp/note/"

_RDF_ROOT = (RDF, "RDF")
DESCRIPTION = (RDF, "Description")
ABOUT = (RDF, "about")
ITEM = (RDF, "li")
LISTS = {(RDF, "Bag"), (RDF, "Seq"), (RDF, "Alt")}


@dataclass(frozen=True, slots=True)
class KeywordProperty:
    """A property that lists keywords.

    Args:
        prefix: What its namespace is called by convention.
        uri: Its namespace.
        local: Its name there.
        container: The kind of list that a new one is.
        separator: What stands between the levels of a keyword; None where keywords have no levels.
        other_uris: Namespaces that programs write by mistake.
    """

    prefix: str
    uri: str
    local: str
    container: str
    separator: str | None
    other_uris: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The name as people write it."""
        return f"{self.prefix}:{self.local}"

    @property
    def names(self) -> frozenset[Name]:
        """The names that elements of it have."""
        return frozenset((uri, self.local) for uri in (self.uri, *self.other_uris))


SUBJECT = KeywordProperty("dc", DC, "subject", "Bag", None)
HIERARCHICAL = KeywordProperty("lr", "http://ns.adobe.com/lightroom/1.0/", "hierarchicalSubject", "Bag", "|")
# ExifTool writes Microsoft's namespace without the slash, Microsoft, digiKam and Exiv2 with it.
KEYWORD_PROPERTIES = (
    SUBJECT,
    HIERARCHICAL,
    KeywordProperty("digiKam", "http://www.digikam.org/ns/1.0/", "TagsList", "Seq", "/"),
    KeywordProperty(
        "MicrosoftPhoto",
        "http://ns.microsoft.com/photo/1.0/",
        "LastKeywordXMP",
        "Bag",
        "/",
        ("http://ns.microsoft.com/photo/1.0",),
    ),
    KeywordProperty("mediapro", "http://ns.iview-multimedia.com/mediapro/1.0/", "CatalogSets", "Bag", "|"),
)
PROPERTY_OF = {keyword_property.label: keyword_property for keyword_property in KEYWORD_PROPERTIES}


def comparable(keyword: str) -> str:
    """Return what two keywords have in common that people take for the same: "Café" in any form, and "café"."""
    return unicodedata.normalize("NFC", keyword).strip().casefold()


def find_rdf(root: Element) -> Element:
    """Return the element that holds the descriptions.

    Raises:
        XmpError: there is none, or there are several.
    """
    if root.name == _RDF_ROOT:
        return root
    found = [child for child in root.children if child.name == _RDF_ROOT]
    if len(found) != 1:
        raise XmpError("is XML but no XMP: it has no rdf:RDF" if not found else "has several rdf:RDF")
    return found[0]


def descriptions(rdf: Element) -> list[Element]:
    """Return the elements that hold properties."""
    return [child for child in rdf.children if child.name == DESCRIPTION]


def about(description: Element) -> str:
    """Return what a description is about: nearly always "", the file itself."""
    return description.attributes.get(ABOUT, description.attributes.get(("", "about"), ""))


def list_of(element: Element) -> Element | None:
    """Return the list in a property's element, None where there is none."""
    return next((child for child in element.children if child.name in LISTS), None)


def list_items(container: Element) -> Iterator[Element]:
    """Yield the entries of a list."""
    return (child for child in container.children if child.name == ITEM)
