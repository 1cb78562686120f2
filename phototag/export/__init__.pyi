from .exports import EXPORTS as EXPORTS
from .form import Export as Export
from .form import ExportOption as ExportOption
from .form import Written as Written
from .rows import write_rows as write_rows
