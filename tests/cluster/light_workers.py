"""Workers without a network, and such as die: of a photo, or by accident."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from phototag.cluster.chunk_worker import ChunkWorker
from phototag.cluster.ray_executor import RayExecutor
from phototag.cluster.worker_setup import WorkerSetup
from phototag.paths import PhotoPath
from phototag.records import Photo
from phototag.tagging import Batch, Lookup
from tests.support.light_tagger import light_tagger

POISON = "poison"
ACCIDENT = "accident"


class LightWorker(ChunkWorker):
    """A photo named `POISON` ends the process whenever it is read, one named `ACCIDENT` the first time."""

    def ready(self, setup: WorkerSetup, cores: int, model: Sequence[Any], ask: Lookup | None) -> bool:
        assert setup.model.path is not None
        self._tagger, self._ask = light_tagger(setup.model.path), ask
        decode = self._tagger.decode

        def dying(data: bytes, path: PhotoPath) -> Any:
            if path.stem == POISON or (path.stem == ACCIDENT and first_time(Path(f"{path}.seen"))):
                os._exit(9)
            return decode(data, path)

        self._tagger.decode = dying
        return True

    def process(self, photos: Sequence[Photo], **options: Any) -> Batch | None:
        return super().process(photos, **options)


def first_time(marker: Path) -> bool:
    """Whether nobody was here before."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class LightExecutor(RayExecutor):
    worker_class = LightWorker
    photos_in_chunk = 4
