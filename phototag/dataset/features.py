"""Frozen features of labelled pictures, computed once through the fastest runtime and kept in a cache.

The cache is one file for each backbone, weights and preprocessing. It is keyed by the content of the pictures, so that
adding pictures to a data set computes only theirs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from phototag import settings
from phototag.choices import DEFAULT_BATCH_SIZE, RuntimeName
from phototag.dataset.content import Content, read_content, report_unreadable
from phototag.dataset.labelled import LabelledPicture
from phototag.dataset.random_views import random_view, uncropped
from phototag.errors import RuntimeUnavailableError
from phototag.files import keep_newest, open_regular, replacing, sweep
from phototag.imaging import Preprocessing
from phototag.runtime import Engine, Target, create_engine, decode_threads

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Counted up, too, when pictures are decoded otherwise than before.
_CACHE_FORMAT = 2
_CACHE_FILES = 8


@dataclass(frozen=True)
class Features(Content):
    """Content with the features [N, D] of the readable pictures."""

    values: NDArray[np.float32]

    def part(self, places: Sequence[int]) -> Self:
        """Return some of the readable pictures; `unreadable` stays whole."""
        return replace(super().part(places), values=self.values[list(places)])


class FeatureExtractor:
    """Features of pictures from a frozen backbone. The engine is only made when something is not in the cache.

    With `views` the features are of so many random views of each picture, and not of the picture: [N, views * D].
    """

    def __init__(
        self,
        build: Callable[[], torch.nn.Module],
        preprocessing: Preprocessing,
        *,
        weights_digest: str,
        target: Target,
        workers: int | None = None,
        views: int = 0,
    ) -> None:
        def create() -> Engine:
            try:
                return create_engine(build, preprocessing, target=target, key=self._key)
            except RuntimeUnavailableError as error:
                if target.runtime is RuntimeName.TORCH:
                    raise
                log.warning("%s; going on with torch, which is slower", error)
                return create_engine(
                    build, preprocessing, target=Target(target.device, RuntimeName.TORCH), key=self._key
                )

        described = json.dumps([_CACHE_FORMAT, weights_digest, preprocessing.to_json()])
        self._key = hashlib.sha256(described.encode()).hexdigest()
        self._views = views
        self._size = preprocessing.size
        self._preprocessing = uncropped(preprocessing) if views else preprocessing
        self._workers = decode_threads(workers)
        self._create = create

    @property
    def _file(self) -> Path:
        views = f"-{self._views}" if self._views else ""
        return settings.cache_folder() / "features" / f"{self._key[:32]}{views}.npz"

    def __call__(self, pictures: Sequence[LabelledPicture]) -> Features:
        """Return features of all readable pictures, in their order.

        Raises:
            DataError: more than 5 % of the pictures are unreadable.
        """
        values = self._read_cache()
        known = len(values)
        engine: Engine | None = None
        waiting: list[tuple[bytes, NDArray[np.uint8]]] = []

        def compute() -> None:
            nonlocal engine
            engine = engine or self._create()
            shown = [view for digest, pixels in waiting for view in self._shown(digest, pixels)]
            (features,) = engine.start(shown).result()
            values.update(zip((digest for digest, _ in waiting), features.reshape(len(waiting), -1), strict=True))
            waiting.clear()

        def take(digest: bytes, pixels: NDArray[np.uint8]) -> None:
            waiting.append((digest, pixels))
            if len(waiting) * max(1, self._views) >= DEFAULT_BATCH_SIZE:
                compute()

        content = read_content(
            pictures,
            self._preprocessing,
            workers=self._workers,
            skip=frozenset(values),
            take=take,
            what="features of views" if self._views else "features",
        )
        if waiting:
            compute()
        if len(values) > known:
            self._write_cache(values)
        rows = np.stack([values[digest] for digest in content.hashes]).astype(np.float32)
        return Features(content.pictures, content.hashes, content.positions, content.unreadable, rows)

    def _shown(self, digest: bytes, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        if not self._views:
            return [pixels]
        seed = int.from_bytes(digest[:8])
        return [random_view(pixels, self._size, seed=seed + number) for number in range(self._views)]

    def _read_cache(self) -> dict[bytes, NDArray[np.float32]]:
        try:
            # numpy leaves a damaged file open that it opened itself.
            with open_regular(self._file) as file, np.load(file, allow_pickle=False) as stored:
                hashes, values = stored["hashes"], stored["values"]
            return {row.tobytes(): value for row, value in zip(hashes, values, strict=True)}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile):
            with suppress(OSError):  # cut short by a crash: it can be made again
                self._file.unlink()
            return {}

    def _write_cache(self, values: dict[bytes, NDArray[np.float32]]) -> None:
        hashes = np.frombuffer(b"".join(values), dtype=np.uint8).reshape(-1, 32)
        with suppress(OSError):  # without a cache the next training takes longer, nothing else
            settings.make_own_folder(self._file.parent)
            with replacing(self._file, private=True) as partial, partial.open("wb") as file:
                np.savez(file, hashes=hashes, values=np.stack(list(values.values())))
            sweep(self._file.parent)
            keep_newest(self._file.parent, "*.npz", count=_CACHE_FILES)


def features_of(
    pictures: Sequence[LabelledPicture],
    backbone: torch.nn.Module,
    stages: Sequence[int],
    preprocessing: Preprocessing,
    *,
    target: Target,
    workers: int | None,
    told: bool = True,
    views: int = 0,
) -> Features:
    """Return features of a backbone through the fastest runtime, from the cache where it has them.

    Unreadable pictures are `told`, or are told elsewhere. See `FeatureExtractor` for `views`.
    """
    from phototag.model import PooledFeatures

    features = FeatureExtractor(
        lambda: PooledFeatures(backbone, stages).eval(),
        preprocessing,
        weights_digest=f"{_digest_of(backbone)}:{list(stages)}",
        target=target,
        workers=workers,
        views=views,
    )(pictures)
    if told:
        report_unreadable(features)
    return features


def _digest_of(network: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
