"""What an export of keywords did, counted, and the lines that say it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from phototag.paths import PhotoPath

_SHOWN = 3
_REASONS = 8


@dataclass
class KeywordReport:
    """What was done with files.

    Attributes:
        written: Files that hold keywords now which they did not hold before.
        removed: Files that ours were taken out of.
        unchanged: Files that were as they should be.
        without: Photos whose tag gives no keyword.
        taken_out: Files that someone took keywords of ours out of, which were not written again.
        refused: Files that were left alone, by the reason.
        examples: Some of these.
        interrupted: Whether there is more to do.
    """

    written: int = 0
    removed: int = 0
    unchanged: int = 0
    without: int = 0
    taken_out: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[PhotoPath]] = field(default_factory=dict)
    interrupted: bool = False

    def refuse(self, path: PhotoPath, reason: str) -> None:
        """Count a file that is left alone."""
        self.refused[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < _SHOWN:
            shown.append(path)

    @property
    def complete(self) -> bool:
        """Whether all that was asked for is done."""
        return not self.refused and not self.interrupted

    @property
    def handled(self) -> int:
        """How many files and photos were dealt with."""
        return self.written + self.removed + self.unchanged + self.without

    def lines(self, *, dry_run: bool, undo: bool) -> list[str]:
        """Return what to tell the user."""
        would = "would be " if dry_run else ""
        parts = [] if undo else [f"{self.written:,} {would}written"]
        if self.removed or undo:
            parts.append(f"{self.removed:,} {would}cleared of our keywords")
        if not undo:
            parts.append(f"{self.unchanged:,} unchanged")
        if self.without:
            parts.append(f"{self.without:,} photos without keywords")
        if self.refused:
            parts.append(f"{sum(self.refused.values()):,} refused")
        lines = [f"{', '.join(parts)}."]
        for reason, count in self.refused.most_common(_REASONS):
            paths = ", ".join(map(str, self.examples[reason]))
            more = f" and {count - len(self.examples[reason]):,} more" if count > len(self.examples[reason]) else ""
            lines.append(f"  {reason}: {paths}{more}")
        if self.taken_out:
            lines.append(
                f"{self.taken_out:,} files no longer hold keywords that were written into them, and get none again. "
                "Which: phototag export xmp --taken-out. Review these photos, or write them again by --again."
            )
        if self.interrupted:
            lines.append("Interrupted; what was written is noted. Run it again to go on.")
        return lines
