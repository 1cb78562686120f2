"""The model file: one .safetensors with a JSON header. Torch-free, so that listing models is instant.

The header lies under the key "phototag" of the safetensors metadata. Model files are untrusted: sizes are
bounded, values are checked, nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phototag.decision import Thresholds
from phototag.errors import ModelError, TaxonomyError
from phototag.files import open_regular, replacing
from phototag.imaging import Preprocessing
from phototag.taxonomy import Taxonomy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT_VERSION = 2
SUFFIX = ".safetensors"
_HEADER_KEY = "phototag"
EXAMPLES = "examples."
# Parsing takes up to 24 times the bytes, and of empty lists and tables the most.
_MAX_HEADER_BYTES = 16 << 20
_MOST_CONTAINERS = 500_000
_LONGEST_TEXT = 200
_MOST_DIGITS = 20
_MOST_STAGES = 1000
_WIDEST_EMBEDDING = 4096


@dataclass(frozen=True)
class ModelHeader:
    """What a model file says of itself.

    `backbone` is timm's name. Without `superclass_head` the superclass scores are sums over the subclasses. `record` is
    the training record: configuration, data digest, curves, versions, seconds. `metrics` are those of the validation.
    `stages` are the backbone's stages whose averages join its features. `novelty` is what `NoveltyModel.to_json` gives;
    None for a model without embedding, whose width is `embedding`.
    """

    backbone: str
    taxonomy: Taxonomy
    preprocessing: Preprocessing
    thresholds: Thresholds
    superclass_head: bool = True
    stages: tuple[int, ...] = ()
    embedding: int = 0
    novelty: Mapping[str, Any] | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "backbone": self.backbone,
            "taxonomy": self.taxonomy.to_json(),
            "preprocessing": self.preprocessing.to_json(),
            "thresholds": self.thresholds.to_json(),
            "superclass_head": self.superclass_head,
            "stages": list(self.stages),
            "embedding": self.embedding,
            "novelty": dict(self.novelty) if self.novelty is not None else None,
            "metrics": dict(self.metrics),
            "record": dict(self.record),
            "created_at": self.created_at,
        }

    @classmethod
    def from_json(cls, value: Any, where: str) -> ModelHeader:
        """Invert `to_json`; `where` names the file in errors.

        Raises:
            ModelError: the value is no header, or of a newer format.
        """
        if not isinstance(value, dict) or not isinstance(value.get("format_version"), int):
            raise ModelError(f"{where}: not a phototag model")
        if value["format_version"] > FORMAT_VERSION:
            version = value["format_version"]
            raise ModelError(f"{where}: model format {version} is newer than {FORMAT_VERSION}; upgrade phototag")
        try:
            return cls(
                backbone=_short(value["backbone"]),
                taxonomy=Taxonomy.from_json(value["taxonomy"]),
                preprocessing=Preprocessing.from_json(value["preprocessing"]),
                thresholds=Thresholds.from_json(value["thresholds"]),
                superclass_head=bool(value["superclass_head"]),
                stages=_stages(value.get("stages", [])),
                embedding=_width(value.get("embedding", 0)),
                novelty=dict(value["novelty"]) if value.get("novelty") is not None else None,
                metrics=_numbers(value["metrics"]),
                record=dict(value["record"]),
                created_at=_short(value["created_at"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, TaxonomyError, ModelError) as error:
            raise ModelError(f"{where}: the model's header is damaged: {error}") from error


def _stages(values: Any) -> tuple[int, ...]:
    stages = tuple(values)
    if not all(type(stage) is int and 0 <= stage < _MOST_STAGES for stage in stages):
        raise ValueError("stages must be small whole numbers")
    # Repeated ones would make features of any width, and heads that fill the memory.
    if list(stages) != sorted(set(stages)):
        raise ValueError("stages must be in order, each once")
    return stages


def _width(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _WIDEST_EMBEDDING:
        raise ValueError("the embedding's width must be a whole number")
    return value


def _short(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise ValueError(f"names and dates must be texts of at most {_LONGEST_TEXT} characters")
    return value


def _numbers(values: Any) -> dict[str, float | None]:
    numbers = {str(name): value for name, value in dict(values).items()}
    if not all(value is None or isinstance(value, int | float) for value in numbers.values()):
        raise ValueError("metrics must be numbers")
    return numbers


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header to `path` atomically.

    Raises:
        ModelError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=True) as partial:
            save_file(dict(tensors), partial, metadata={_HEADER_KEY: json.dumps(header, allow_nan=False)})
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror or error}") from error
    except SafetensorError as error:  # its writer wraps the system's error, as of a full disk
        raise ModelError(f"{path}: cannot be written: {error}") from error


def read_json_header(path: Path) -> Any:
    """Return the JSON header that `write_tensors` wrote, without reading the tensors.

    Raises:
        ModelError: the file is missing, unreadable, cut short or no such file.
    """
    return _header_of(_read_table(path)[0], path)


def _header_of(table: Any, path: Path) -> Any:
    try:
        return _parsed(table["__metadata__"][_HEADER_KEY])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: a safetensors file, but not a phototag model") from error


def _parsed(text: str | bytes) -> Any:
    """Return the values of JSON whose numbers are such that one can reckon with them."""
    return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number is too large")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number is not finite")
    return number


def _read_table(path: Path) -> tuple[Any, int]:
    """Return the table of a safetensors file, and where the tensors begin that it describes.

    Raises:
        ModelError: the file is missing, unreadable, cut short or no such file.
    """
    try:
        with open_regular(path) as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MAX_HEADER_BYTES + 1
            if length > _MAX_HEADER_BYTES:
                raise ModelError(f"{path}: not a phototag model")
            text = file.read(length)
            if text.count(b"[") + text.count(b"{") > _MOST_CONTAINERS:
                raise ModelError(f"{path}: not a phototag model")
            table = _parsed(text)
            have, need = os.fstat(file.fileno()).st_size, 8 + length + _data_bytes(table)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such model file") from None
    except IsADirectoryError:
        raise ModelError(f"{path}: a folder, not a model file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ModelError(f"{path}: not a phototag model, or cut short") from error
    if have != need:  # so the tensors, which do not overlap, have no more numbers than the file
        wrong = "cut short" if have < need else "too long"
        raise ModelError(f"{path}: the file is {wrong}: {have:,} bytes instead of {need:,}; copy or train it again")
    return table, 8 + length


def _data_bytes(table: Any) -> int:
    """Return how many bytes the tensors of a table take; ValueError if they overlap, or sizes are none."""
    extents = [entry["data_offsets"] for name, entry in table.items() if name != "__metadata__"]
    shapes = [entry["shape"] for name, entry in table.items() if name != "__metadata__"]
    if not all(type(number) is int and number >= 0 for numbers in (*extents, *shapes) for number in numbers):
        raise ValueError("sizes must be whole numbers")
    size = max((end for _, end in extents), default=0)
    if sum(end - start for start, end in extents) != size:
        raise ValueError("tensors overlap, or leave gaps")
    return size


def read_tensors(path: Path, *, under: str | None = None) -> dict[str, NDArray[np.float32]]:
    """Return the tensors whose names begin with `under`; with None all but the examples kept for `--extend`.

    Raises:
        ModelError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open_regular(path), safe_open(path, framework="numpy") as file:
            names = [
                name
                for name in file.keys()  # noqa: SIM118  # it is no mapping
                if (name.startswith(under) if under is not None else not name.startswith(EXAMPLES))
            ]
            return {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        # The last two are of types of numbers that numpy does not have.
        raise ModelError(f"{path}: the model file is damaged: {error}") from error


def read_header(path: Path) -> ModelHeader:
    """Return the header of a model file.

    Raises:
        ModelError: the file is missing, cut short, of a newer format, not a model, or its tensors are of other classes.
    """
    table, _ = _read_table(path)
    header = ModelHeader.from_json(_header_of(table, path), str(path))
    counts = {
        "superclass_head": len(header.taxonomy.superclasses),
        "subclass_head": len(header.taxonomy.subclasses),
        "embedding": header.embedding,
    }
    # Before anything is made of them that is as large as the header says.
    for name, count in counts.items():
        for part in ("weight", "bias"):
            found = table.get(f"{name}.{part}")
            if found is not None and found["shape"][:1] != [count]:
                raise ModelError(f"{path}: the model file is damaged: {name} is not of {count:,} rows")
    return header


def file_hash(path: Path) -> str:
    """Return SHA-256 of a file, in hex."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error


def weights_hash(path: Path, header: ModelHeader) -> str:
    """Return SHA-256, in hex, of all that a model's scores depend on: tensors, and parts of the header.

    Thresholds, metrics and the training record are no part of it, nor is the order of the tensors in the file.

    Raises:
        ModelError: the file cannot be read, or is damaged.
    """
    described = header.to_json()
    parts = {key: described[key] for key in ("backbone", "taxonomy", "preprocessing", "superclass_head")}
    if header.embedding or header.stages:
        parts |= {key: described[key] for key in ("stages", "embedding", "novelty")}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    table, begin = _read_table(path)
    try:
        with open_regular(path) as file:
            for name in sorted(table.keys() - {"__metadata__"}):
                if name.startswith(EXAMPLES):
                    continue
                start, end = table[name]["data_offsets"]
                digest.update(json.dumps([name, table[name]["dtype"], table[name]["shape"]]).encode())
                file.seek(begin + start)
                digest.update(file.read(end - start))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: the model file is damaged: {error}") from error
    return digest.hexdigest()
