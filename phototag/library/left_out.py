"""What a scan passes over: what nobody wants as a photo, and what a person may miss, which is counted."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

from phototag.imaging import unread_format

# Thumbnails, recycle bins, snapshots and the like of NAS and desktop systems, in lower case.
_SYSTEM_FOLDERS = frozenset(
    {
        "$recycle.bin",
        "recycler",
        "system volume information",
        "found.000",
        "lost+found",
        "@eadir",
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",
        "@recently-snapshot",
        "@__thumb",
        "~snapshot",
        "__macosx",
        "network trash folder",
        "temporary items",
    }
)
# Formats of photos and drawings that a person may expect to be read.
_PHONES_AND_WEB = "avcs avci jxl jp2 j2k j2c jpf jpx jpm jxr wdp hdp jif jfi pjpeg pjp apng bpg svg svgz"
_RAW = "3fr crw dcr dcs eip erf fff gpr iiq k25 kdc mdc mef mos mrw ptx r3d raw rwz sr2 srf x3f"
_PROGRAMS = (
    "psd psb xcf kra ora afphoto cpt tga dib ico cur pcx ppm pgm pbm pnm pfm exr hdr dds sgi fits dcm jls xpm xbm"
)
_OTHER_SUFFIXES = frozenset(f".{name}" for names in (_PHONES_AND_WEB, _RAW, _PROGRAMS) for name in names.split())
_LISTED = 6


def is_system_folder(name: str) -> bool:
    """Return whether systems keep what nobody wants as a photo in folders of that name."""
    return name.lower() in _SYSTEM_FOLDERS


def is_passed_over(name: str) -> bool:
    """Return whether no scan looks at files and folders of that name: hidden ones, and folders of the system."""
    return name.startswith(".") or is_system_folder(name)


@dataclass(slots=True)
class LeftOut:
    """What a person may have expected to be read: files by their format, folders by their name, symbolic links."""

    formats: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    links: int = 0

    def __bool__(self) -> bool:
        return bool(self.formats or self.folders or self.links)

    def note_file(self, name: str) -> None:
        """Count a file that is no picture by its name, if it is one in a format that is not read."""
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122  # a Path for each file is slow
        if suffix in _OTHER_SUFFIXES or unread_format(suffix) is not None:
            self.formats[suffix] += 1

    def line(self) -> str:
        """Return it in a line; empty if nothing was left out."""
        parts, advice = [], ""
        if self.formats:
            files = sum(self.formats.values())
            parts.append(f"{files:,} {_plural('file', files)} in formats that are not read ({_counted(self.formats)})")
            extras = {str(form.extra) for suffix in self.formats if (form := unread_format(suffix)) is not None}
            advice = f" Some are read after: pip install 'phototag[{','.join(sorted(extras))}]'" if extras else ""
        if self.links:
            parts.append(f"{self.links:,} symbolic {_plural('link', self.links)}")
        if self.folders:
            parts.append(f"folders of the system ({_counted(self.folders)})")
        return f"Left out: {', '.join(parts)}.{advice}" if parts else ""


def _plural(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"


def _counted(counts: Counter[str]) -> str:
    named = [f"{number:,} {name}" for name, number in counts.most_common(_LISTED)]
    return ", ".join(named + (["and others"] if len(counts) > _LISTED else []))
