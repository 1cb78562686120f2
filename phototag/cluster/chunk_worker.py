"""What runs in a worker: the tagger of one machine, given one chunk after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

from phototag.cluster.ray_session import demands_token
from phototag.cluster.worker_setup import WorkerSetup
from phototag.metadata import WrittenKeywords
from phototag.records import Photo
from phototag.tagging import Batch, Describer, Lookup, Tagger


def process_chunk(
    tagger: Tagger,
    photos: Sequence[Photo],
    *,
    known: Lookup | None,
    describe: Describer,
    stop: Callable[[], bool] | None = None,
) -> Batch | None:
    """Return what comes of the photos of one chunk, in their order; None once `stop` said yes.

    See `Tagger.process` for the other arguments.
    """
    batches = []
    with closing(tagger.process(iter(photos), known=known, describe=describe)) as found:
        for batch in found:
            batches.append(batch)
            if stop is not None and stop():
                return None
    return Batch(tuple(item for batch in batches for item in batch.items), sum(batch.inferred for batch in batches))


class ChunkWorker:
    """A worker of Ray: an actor that holds the tagger, and knows no database.

    It takes no arguments, as Ray may have lost them when it starts a worker again that died.
    """

    def __init__(self) -> None:
        self._tagger: Tagger | None = None
        self._ask: Lookup | None = None
        self._described: tuple[int, Describer] | None = None

    def ready(self, setup: WorkerSetup, cores: int, model: Sequence[Any], ask: Lookup | None) -> bool:
        """Load the model; returns whether Ray was started so that it asks for a token.

        Args:
            setup: How to compute.
            cores: That this worker may use.
            model: A reference to the bytes of the model's file, in a list, or Ray would send them, needed or not.
            ask: Looks contents up where the database is.

        Raises:
            PhotoTagError: this machine cannot do it.
        """

        def fetch() -> bytes:
            import ray

            data: bytes = ray.get(model[0])
            return data

        tagger = setup.tagger(cores=cores, fetch=fetch if model else None)
        tagger.prepare(iter(()))
        self._tagger, self._ask = tagger, ask
        return demands_token()

    def process(
        self, photos: Sequence[Photo], *, ask: bool, state: int, written: WrittenKeywords | None
    ) -> Batch | None:
        """Return what comes of a chunk; None once this worker was started again and is not `ready`.

        Args:
            photos: The chunk.
            ask: Whether to look contents up.
            state: A number that changes whenever what lies beside photos has to be looked at again.
            written: Which keywords phototag wrote itself; None is none.
        """
        if self._tagger is None:
            return None
        if self._described is None or self._described[0] != state:
            ours = written or WrittenKeywords()
            self._described = state, Describer(lambda: ours)
        return process_chunk(self._tagger, photos, known=self._ask if ask else None, describe=self._described[1])
