"""Several processes that train one network together, as torchrun starts them; without torchrun, a world of one.

Every process goes the same way through the program. What must happen once (reading caches, writing files, printing) is
done by the writer, process 0, and `first` hands what comes of it to the others. Small messages go through gloo on the
CPU, also where gradients go through NCCL: they never make a GPU wait.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from phototag.choices import Device
from phototag.errors import PhotoTagError, RuntimeUnavailableError, UsageError
from phototag.text import first_line

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

# A step or a share of the validation takes no longer, unless a process hangs.
_MESSAGE_SECONDS = 600.0
# The writer may compute features for hours, but shows every few seconds that it is alive.
_BEAT_SECONDS = 5.0
_SILENCE_SECONDS = 300.0
# How long a process that failed waits for others that fail too, so that their connections end in order.
_FAILED_SECONDS = 5.0
_FAILED = "failed"


class World:
    """The processes of one training: `rank` is this one's number, 0 to `size` - 1, `local_rank` that on this machine.

    As a context manager it connects the processes, and parts them in order; a world of one has nothing to do for that.
    Contexts may be nested: the outermost counts. Within, all processes must call the same methods in the same order.
    """

    def __init__(self, *, rank: int = 0, size: int = 1, local_rank: int = 0, local_size: int = 1) -> None:
        self.rank, self.size, self.local_rank, self.local_size = rank, size, local_rank, local_size
        self._store: Store | None = None
        self._turns = self._depth = 0
        self._alone = False

    @property
    def is_writer(self) -> bool:
        """Whether this process writes files, logs, shows progress and prints."""
        return self.rank == 0

    # -- coming together and parting

    def __enter__(self) -> World:
        """Connect the processes and give this one its GPU or its share of the cores.

        Raises:
            RuntimeUnavailableError: the others cannot be reached.
            UsageError: the program has connected processes already.
        """
        global _started
        self._depth += 1
        if self.size == 1 or self._store is not None:
            return self
        import torch
        from torch import distributed
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        if distributed.is_initialized():
            raise UsageError("torch.distributed is in use already; let phototag connect the processes")
        with_gpu = torch.cuda.is_available() and torch.cuda.device_count() >= self.local_size
        patience = timedelta(seconds=_MESSAGE_SECONDS)
        with self._together("connecting"):
            store, _, _ = next(rendezvous("env://", timeout=patience))
            store.set_timeout(patience)
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if with_gpu else "gloo",
                store=PrefixStore("gradients", store),
                rank=self.rank,
                world_size=self.size,
                timeout=patience,
            )
        self._store = PrefixStore("phototag", store)
        if with_gpu:
            torch.cuda.set_device(self.local_rank)
        elif os.environ.get("OMP_NUM_THREADS") == "1":  # torchrun's choice, which leaves cores idle
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // self.local_size))
        if not self.is_writer:
            logging.getLogger("phototag").setLevel(logging.ERROR)
        _started = self
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Part from the other processes. After a failure here there is little waiting for them."""
        global _started
        self._depth -= 1
        if self._store is None or self._depth:
            return
        from torch import distributed

        try:
            # A process that goes while others still speak makes gloo abort them.
            if kind is not None:
                self._gather_at_exit()
            else:
                self.barrier()
        finally:
            self._store = _started = None
            with suppress(RuntimeError):
                distributed.destroy_process_group()

    def _gather_at_exit(self) -> None:
        deadline = time.monotonic() + _FAILED_SECONDS
        with suppress(RuntimeError):  # the store may have gone with its process
            here = self._connected().add(_FAILED, 1)
            while here < self.size and time.monotonic() < deadline:
                time.sleep(0.05)
                here = self._connected().add(_FAILED, 0)

    def check_device(self, device: Device) -> None:
        """Raise UsageError unless every process of this machine can have such a device to itself."""
        if self.size == 1 or device is Device.CPU:
            return
        if device is not Device.CUDA:
            raise UsageError(f"several processes train on CUDA or on the CPU, not on {device}; use --device cpu")
        import torch

        if torch.cuda.device_count() < self.local_size:
            raise UsageError(
                f"{self.local_size} processes on this machine, but {torch.cuda.device_count()} CUDA devices; start as "
                "many with --nproc-per-node, or use --device cpu"
            )

    # -- messages

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of the values over all processes."""
        if self.size == 1:
            return [float(value) for value in values]
        import torch
        from torch import distributed

        totals = torch.tensor(values, dtype=torch.float64)
        self._connected()
        with self._together("adding up"):
            distributed.all_reduce(totals)
        result: list[float] = totals.tolist()
        return result

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace floating-point tensors by their mean over all processes, in place."""
        if self.size == 1:
            return
        from torch import distributed

        self._connected()
        for tensor in tensors:
            with self._together("averaging"):
                distributed.all_reduce(tensor)
            tensor.div_(self.size)

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.sum([0.0])

    def broadcast_object(self, value: T) -> T:
        """Return the writer's value, in all processes; it has to be picklable."""
        if self.size == 1:
            return value
        from torch import distributed

        box = [value]
        self._connected()
        with self._together("waiting for the writer's values"):
            distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank, in all processes; they have to be picklable."""
        if self.size == 1:
            return [value]
        from torch import distributed

        box: list[Any] = [None] * self.size
        self._connected()
        with self._together("gathering"):
            distributed.all_gather_object(box, value)
        return box

    def first(self, work: Callable[[], T]) -> T:
        """Return what `work` returns in the writer, in all processes; if it raises, its error is raised in all of them.

        However long it takes, the others wait, as long as the writer is alive. Errors that phototag does not raise on
        purpose end the writer alone; the others then find it gone. Meanwhile the writer is in a separate world:
        whatever `work` calls finds no other processes.
        """
        if self.size == 1 or self._alone:
            return work()
        self._turns += 1
        if not self.is_writer:
            self._await_writer(self._turns)
            theirs: tuple[Any, BaseException | None] = self.broadcast_object((None, None))
            if theirs[1] is not None:
                _echoes.append(theirs[1])
                raise theirs[1]
            return theirs[0]  # type: ignore[no-any-return]
        with self._showing_life(self._turns):
            try:
                outcome: tuple[Any, BaseException | None] = (work(), None)
            except (PhotoTagError, OSError, KeyboardInterrupt) as raised:
                outcome = (None, raised)
        self._connected().set(f"done{self._turns}", "1")
        result, error = outcome
        self.broadcast_object((result, error if error is None else _portable(error)))
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    @contextmanager
    def _showing_life(self, turn: int) -> Iterator[None]:
        global _started
        store, over = self._connected(), threading.Event()

        def beat() -> None:
            number = 0
            with suppress(RuntimeError):  # the store went: the main thread will find out
                while not over.is_set():
                    store.set(f"beat{turn}", str(number))
                    number += 1
                    over.wait(_BEAT_SECONDS)

        thread = threading.Thread(target=beat, name="phototag-alive", daemon=True)
        thread.start()
        self._alone, _started = True, World()
        try:
            yield
        finally:
            self._alone, _started = False, self
            over.set()
            thread.join()

    def _await_writer(self, turn: int) -> None:
        store = self._connected()
        heard, last = time.monotonic(), b""
        while True:
            with self._together("waiting for process 0"):
                if store.check([f"done{turn}"]):
                    return
                if store.check([_FAILED]):
                    raise RuntimeError("another process has failed")
                beat = store.get(f"beat{turn}") if store.check([f"beat{turn}"]) else b""
            if beat != last:
                heard, last = time.monotonic(), beat
            elif time.monotonic() - heard > _SILENCE_SECONDS:
                raise RuntimeUnavailableError(
                    f"process {self.rank} of {self.size}: process 0 has not been heard of for {_SILENCE_SECONDS:.0f} "
                    "s; it hangs or has stopped: see what it wrote, then start again with --resume"
                )
            time.sleep(0.1)

    def _connected(self) -> Store:
        if self._store is None:
            raise RuntimeUnavailableError(
                f"{self.size} processes were started that are not connected; use World as a context manager"
            )
        return self._store

    @contextmanager
    def _together(self, doing: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self.lost(doing, error) from error

    def lost(self, doing: str, error: BaseException) -> RuntimeUnavailableError:
        """Return the error to raise where a message to the other processes failed."""
        return RuntimeUnavailableError(
            f"process {self.rank} of {self.size} lost the others while {doing} ({first_line(error)}); one of them has "
            "stopped or hangs: see what it wrote, then start again with --resume"
        )


def current_world() -> World:
    """Return the world that this process is in: the connected one, or the one that torchrun's environment describes.

    Raises:
        UsageError: the environment is not one that torchrun makes.
    """
    if _started is not None:
        return _started
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if not all(name in os.environ for name in (*names, "MASTER_ADDR", "MASTER_PORT")):
        return World()
    try:
        rank, size, local_rank, local_size = (int(os.environ[name]) for name in names)
    except ValueError as error:
        raise UsageError(f"the environment does not describe a process of torchrun: {error}") from error
    if not (0 <= rank < size and 0 <= local_rank < local_size):
        raise UsageError(f"the environment does not describe a process of torchrun: rank {rank} of {size}")
    return World(rank=rank, size=size, local_rank=local_rank, local_size=local_size)


def is_echo(error: BaseException) -> bool:
    """Return whether the writer tells of this error: it raised it first, or raises the same, as all wrong use is."""
    return any(error is echo for echo in _echoes) or (isinstance(error, UsageError) and not current_world().is_writer)


def _portable(error: BaseException) -> BaseException:
    """Return the error itself, or one of its text, if it does not survive the way to another process."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what this process has just written itself
    except (TypeError, AttributeError, pickle.PickleError):
        return PhotoTagError(str(error))
    return error


_started: World | None = None
_echoes: list[BaseException] = []
