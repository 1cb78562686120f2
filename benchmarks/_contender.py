"""What takes part in the benchmark, each in a process of its own, and how it is told what to do.

One process each: no contender's threads, caches or memory count for another's, and all of them wait while one runs.
"""

from __future__ import annotations

import importlib
import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from _memory import PeakMemory

from phototag.records import Tag


@dataclass(frozen=True, slots=True)
class Options:
    """What the whole benchmark runs with. `model` is None for the built-in model."""

    model: str | None
    device: str
    batch_size: int
    precision: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a contender says of one picture: the position of its best subclass, and the tag that would be stored."""

    top1: int
    superclass: str | None
    subclass: str | None

    @classmethod
    def of(cls, top1: int, tag: Tag) -> Answer:
        """From the best subclass of all and a tag."""
        return cls(int(top1), tag.superclass, tag.subclass)


@dataclass(frozen=True, slots=True)
class Run:
    """One timed pass over a folder. `answers` by file name; empty for what gives none."""

    photos: int
    seconds: float
    answers: Mapping[str, Answer]

    @property
    def rate(self) -> float:
        """Photos a second."""
        return self.photos / self.seconds


class Contender(Protocol):
    """Something that takes a folder of pictures; made in its own process, with its model loaded."""

    def prepare(self, folder: Path) -> str:
        """Get ready for `folder`, untimed; returns what was chosen for it, for the table."""
        ...

    def run(self) -> Run:
        """One timed pass over the folder last prepared."""
        ...


class Process:
    """A contender in a process of its own. Close it.

    `maker` is the "module:function" that makes it from `Options`. It is imported in that process only: phototag's
    process shall not hold torch because a neighbour needs it.
    """

    def __init__(self, name: str, maker: str, options: Options) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, maker, options))
        self._process.start()
        theirs.close()
        self.load_seconds: float = self._answer()
        self.peak_bytes = 0

    def prepare(self, folder: Path) -> str:
        """See `Contender.prepare`; then one untimed pass, which warms up and shows the memory that it takes.

        Memory is not watched while the clock runs: walking the pages of a large process slows that process.
        """
        setting = str(self._ask("prepare", folder))
        with PeakMemory(self._process.pid or 0) as memory:
            self.run()
        self.peak_bytes = memory.peak_bytes
        return setting

    def run(self) -> Run:
        """See `Contender.run`."""
        run = self._ask("run")
        if not isinstance(run, Run):
            raise TypeError(f"{self.name}: not a run: {run!r}")
        return run

    def _ask(self, *command: Any) -> Any:
        self._pipe.send(command)
        return self._answer()

    def _answer(self) -> Any:
        try:
            result = self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"{self.name}: its process ended early; what it said stands above") from None
        return result

    def close(self) -> None:
        """Let the process end."""
        self._pipe.close()
        self._process.join(timeout=20)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _serve(pipe: Connection, maker: str, options: Options) -> None:
    started = time.perf_counter()
    module, function = maker.split(":")
    contender = getattr(importlib.import_module(module), function)(options)
    pipe.send(time.perf_counter() - started)
    while True:
        try:
            command, *arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(contender, command)(*arguments))
