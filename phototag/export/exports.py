"""All exports. To add one, write a module like `labels` and name its export here; docs/contributing.md shows how."""

from __future__ import annotations

from phototag.export.exiftool import EXIFTOOL
from phototag.export.form import Export
from phototag.export.labels import LABELS
from phototag.export.rows import ROWS

EXPORTS: dict[str, Export] = {export.name: export for export in (ROWS, LABELS, EXIFTOOL)}
"""The exports by their names; importing them imports neither a database library nor numpy."""
