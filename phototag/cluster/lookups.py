"""Look-ups of contents for workers that know no database: the driver, which has it, answers them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from phototag.errors import PhotoTagError
from phototag.store import ScoredContent
from phototag.tagging import Lookup


class _Exchange:
    """An actor in the middle: Ray lets workers call actors, but not the driver, which therefore asks for questions."""

    def __init__(self) -> None:
        self._questions: asyncio.Queue[tuple[int, Collection[bytes]]] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[Mapping[bytes, ScoredContent]]] = {}
        self._asked = 0

    async def ask(self, content_hashes: Collection[bytes]) -> Mapping[bytes, ScoredContent]:
        """Return what is known of contents."""
        self._asked += 1
        number = self._asked
        answer: asyncio.Future[Mapping[bytes, ScoredContent]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._questions.put((number, content_hashes))
        return await answer

    async def take(self) -> list[tuple[int, Collection[bytes]]]:
        """Wait for questions."""
        questions = [await self._questions.get()]
        while not self._questions.empty():
            questions.append(self._questions.get_nowait())
        return questions

    async def answer(self, answers: dict[int, Mapping[bytes, ScoredContent]]) -> None:
        """Hand out answers."""
        for number, found in answers.items():
            self._answers.pop(number).set_result(found)


class Lookups:
    """Answers the workers' questions in a thread of the driver.

    `ask` is what a worker calls. What cannot be answered is unknown, and computed.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._known: Lookup | None = None
        self._error: PhotoTagError | None = None
        self._exchange = ray.remote(num_cpus=0)(_Exchange).remote()
        self.ask = _Asking(self._exchange)
        self._thread: threading.Thread | None = None

    def answer_by(self, known: Lookup | None) -> None:
        """Answer by that from now on."""
        self._known = known
        if known is not None and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="lookups", daemon=True)
            self._thread.start()

    def check(self) -> None:
        """Raise what went wrong while a question was answered.

        Raises:
            StoreError: the database could not be read.
        """
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the exchange, and the thread with it."""
        with suppress(Exception):  # it is gone already
            self._ray.kill(self._exchange)
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _work(self) -> None:
        with suppress(self._ray.exceptions.RayError):  # the exchange was closed
            while self._error is None:
                questions = self._ray.get(self._exchange.take.remote())
                known = self._known
                answers: dict[int, Mapping[bytes, ScoredContent]] = {number: {} for number, _ in questions}
                try:
                    answers.update((number, known(hashes)) for number, hashes in questions if known is not None)
                except PhotoTagError as error:
                    self._error = error
                self._ray.get(self._exchange.answer.remote(answers))


class _Asking:
    """What goes to the workers: a `Lookup`."""

    def __init__(self, exchange: Any) -> None:
        self._exchange = exchange

    def __call__(self, content_hashes: Collection[bytes]) -> Mapping[bytes, ScoredContent]:
        import ray

        try:
            found: Mapping[bytes, ScoredContent] = ray.get(self._exchange.ask.remote(content_hashes))
            return found
        except ray.exceptions.RayError:
            return {}
