"""Training by several processes over gloo: it comes to what one process does, and nobody waits for ever."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from phototag.choices import Device
from phototag.errors import ModelError, PhotoTagError, RuntimeUnavailableError, UsageError
from phototag.runtime import distributed
from phototag.runtime.distributed import World, current_world, is_echo
from phototag.training.finetune.trainer import Trainer
from tests.support.pictures import colour_folder
from tests.support.ranks import Ended, run_ranks
from tests.support.training import COUNTS, assert_close, make_trainer, tensors_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="gloo's processes find each other otherwise there"),
]

# Everything at once: mixed, anchored, augmented, frozen, and batches of five pairs that no two processes share evenly.
HOW: dict[str, Any] = {"batch_size": 10, "epochs": 2, "distillation": 0.3, "lr": 1e-3}


# -- what the processes do: each calls `_work` with the name of one of these, and leaves a file


def _messages(world: World, _: Path) -> dict[str, Any]:
    def fail() -> None:
        raise ModelError("no such model")

    found: dict[str, Any] = {
        "sum": world.sum([1.0, world.rank]),
        "gather": world.gather(f"from {world.rank}"),
        "broadcast": world.broadcast_object(f"from {world.rank}"),
        "first": world.first(lambda: f"by {world.rank}"),
        "nested": world.first(lambda: (current_world().size, world.first(lambda: "inner"), current_world().sum([3.0]))),
    }
    with pytest.raises(ModelError, match="no such model") as caught:
        world.first(fail)
    found["echo"] = is_echo(caught.value)
    found["late"] = world.first(lambda: time.sleep(0.5))
    with pytest.raises(UsageError, match="--device cpu"):
        world.check_device(Device.MPS)
    return found


def _fit(made: Trainer, **more: Any) -> dict[str, Any]:
    saved: list[Any] = []
    made.fit(lambda trainer: saved.append(trainer.state()))
    return {"network": tensors_of(made.network), "history": made.progress.history, "saved": len(saved), **more}


def _train(_: World, data: Path) -> dict[str, Any]:
    return _fit(make_trainer(data, **HOW))


def _train_in_parts(_: World, data: Path) -> dict[str, Any]:
    return _fit(make_trainer(data, accumulate=2, **HOW))


def _train_from_random_weights(_: World, data: Path) -> dict[str, Any]:
    return _fit(make_trainer(data, pretrained=False, epochs=1, batch_size=10))


def _stop_one(world: World, data: Path) -> dict[str, Any]:
    """The last process is told to stop in the second epoch; all stop, and what was saved before is kept."""
    made, saved = make_trainer(data, **HOW), []

    def after(trainer: Trainer) -> None:
        saved.append(trainer.state())

    step = made._step

    def told(batch: Any, number: int) -> Any:
        made.stopping = world.rank == world.size - 1 and number >= made._batches
        return step(batch, number)

    made._step = told  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        made.fit(after)
    made.stopping = False
    return {"state": saved[-1] if saved else None, "judged": len(made.evaluate(made.best_network()))}


def _resume(world: World, data: Path) -> dict[str, Any]:
    """Goes on where one process stopped after its first epoch."""
    made = make_trainer(data, **HOW)
    made.restore(*world.first(lambda: torch.load(data.parent / "alone.pt", weights_only=True)))
    return _fit(made)


def _too_many(_: World, data: Path) -> dict[str, Any]:
    with pytest.raises(UsageError, match="raise --batch-size"):
        make_trainer(data, **{**HOW, "batch_size": 2, "distillation": 0.0}).fit(lambda _: None)
    return {}


SCENES = (_messages, _train, _train_in_parts, _train_from_random_weights, _stop_one, _resume, _too_many)


def _all_scenes(place: str) -> None:
    folder = Path(place)
    with current_world() as world:
        results = {scene.__name__: scene(world, folder / "colours") for scene in SCENES}
        torch.save(results, folder / f"{world.rank}.pt")


def _die_beside_others(place: str) -> None:
    folder = Path(place)
    with current_world() as world:
        made = make_trainer(folder / "colours", **HOW)
        step = made._step

        def die(batch: Any, number: int) -> Any:
            if world.rank == 1 and number == 2:
                os._exit(3)
            return step(batch, number)

        made._step = die  # type: ignore[method-assign]
        try:
            made.fit(lambda _: None)
        except RuntimeUnavailableError as error:
            (folder / "died.txt").write_text(str(error))
            raise SystemExit(5) from error


def _writer_dies(place: str) -> None:
    folder = Path(place)
    with current_world() as world:
        world.barrier()

        def die() -> None:
            os._exit(3)

        try:
            world.first(die)
        except RuntimeUnavailableError as error:
            (folder / "writer died.txt").write_text(str(error))
            raise SystemExit(5) from error


def _writer_fails(place: str) -> None:
    folder = Path(place)
    with current_world() as world, current_world() as same:
        assert same is world
        try:
            world.first(lambda: [][0])
        except RuntimeUnavailableError as error:
            (folder / "failed.txt").write_text(str(error))
            raise SystemExit(5) from error


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of four classes, one of which cannot be read. Do not change them."""
    folder = colour_folder(tmp_path_factory.mktemp("data") / "colours", COUNTS)
    make_trainer(folder, **HOW).training[3].path.write_bytes(b"broken")
    return folder


@pytest.fixture(scope="module")
def alone(data: Path) -> dict[str, Any]:
    """What one process comes to; the state after its first epoch is left for two to go on from."""
    made, states = make_trainer(data, **HOW), []
    made.fit(lambda trainer: states.append(trainer.state()))
    torch.save(states[1], data.parent / "alone.pt")
    return {"network": tensors_of(made.network), "history": made.progress.history, "steps": 2 * made._batches}


@pytest.fixture(scope="module")
def ended(data: Path, alone: dict[str, Any]) -> dict[str, list[Ended]]:
    """How the two processes ended that did each of these."""
    names = ("_all_scenes", "_die_beside_others", "_writer_dies", "_writer_fails")
    return dict(
        zip(names, run_ranks(data.parent, __name__, *((name, str(data.parent)) for name in names)), strict=True)
    )


@pytest.fixture(scope="module")
def together(data: Path, ended: dict[str, list[Ended]]) -> list[dict[str, Any]]:
    """What each of two processes came to in every scene."""
    for process in ended["_all_scenes"]:
        assert process.code == 0, process.stderr
        assert "Warning" not in process.stderr
    return [torch.load(data.parent / f"{rank}.pt", weights_only=False) for rank in range(2)]


def assert_same_run(run: dict[str, Any], alone: dict[str, Any], *, atol: float = 5e-5) -> None:
    assert_close(run["network"], alone["network"], atol=atol)
    for one, other in zip(run["history"], alone["history"], strict=True):
        assert one == pytest.approx(other, abs=1e-4)
        assert one["subclass_accuracy"] == other["subclass_accuracy"]
        assert one["superclass_accuracy"] == other["superclass_accuracy"]


@pytest.mark.parametrize("scene", ["_train", "_train_in_parts", "_resume"])
def test_two_processes_come_to_what_one_does(together: list[dict[str, Any]], alone: dict[str, Any], scene: str) -> None:
    for results in together:
        assert_same_run(results[scene], alone)


def test_all_processes_hold_the_same_network(together: list[dict[str, Any]]) -> None:
    for scene in ("_train", "_train_in_parts", "_train_from_random_weights", "_resume"):
        one, other = (results[scene] for results in together)
        assert_close(one["network"], other["network"], atol=1e-7)
        assert one["history"] == other["history"]


def test_only_the_writer_saves(together: list[dict[str, Any]]) -> None:
    assert [results["_train"]["saved"] for results in together] == [3, 0]  # the start, and two epochs


def test_one_process_told_to_stop_stops_all_and_one_alone_goes_on(
    together: list[dict[str, Any]], data: Path, alone: dict[str, Any]
) -> None:
    writer, other = (results["_stop_one"] for results in together)
    assert other["state"] is None
    assert writer["judged"] == other["judged"] == 8
    made = make_trainer(data, **HOW)
    made.restore(*writer["state"])
    assert made.progress.epoch == 1
    made.fit(lambda _: None)
    assert_same_run({"network": tensors_of(made.network), "history": made.progress.history}, alone)


def test_messages_reach_all_processes(together: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(results["_messages"] for results in together):
        assert found["sum"] == [2.0, 1.0]
        assert found["gather"] == ["from 0", "from 1"]
        assert found["broadcast"] == "from 0"
        assert found["first"] == "by 0"
        assert found["nested"] == (1, "inner", [3.0])
        assert found["echo"] == (rank == 1)


def test_death_of_a_process_ends_the_others_with_its_news(data: Path, ended: dict[str, list[Ended]]) -> None:
    survivor, dead = ended["_die_beside_others"]
    assert dead.code == 3
    assert survivor.code == 5, survivor.stderr
    assert "process 0 of 2 lost the others" in (data.parent / "died.txt").read_text()


def test_death_of_the_writer_ends_those_that_wait_for_it(data: Path, ended: dict[str, list[Ended]]) -> None:
    dead, survivor = ended["_writer_dies"]
    assert dead.code == 3
    assert survivor.code == 5, survivor.stderr
    news = (data.parent / "writer died.txt").read_text()
    assert "process 1 of 2 lost the others while waiting for process 0" in news


def test_unforeseen_error_of_the_writer_ends_those_that_wait_for_it(data: Path, ended: dict[str, list[Ended]]) -> None:
    failed, survivor = ended["_writer_fails"]
    assert failed.code == 1
    assert "IndexError" in failed.stderr
    assert survivor.code == 5, survivor.stderr
    assert "process 1 of 2 lost the others" in (data.parent / "failed.txt").read_text()


# -- one process


def test_without_torchrun_there_is_a_world_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")  # other schedulers set some of torchrun's names
    monkeypatch.delenv("RANK", raising=False)
    with current_world() as world:
        assert (world.rank, world.size, world.is_writer) == (0, 1, True)
        assert world.sum([1.0, 2.0]) == [1.0, 2.0]
        assert world.gather("x") == ["x"]
        assert world.broadcast_object("x") == "x"
        assert world.first(lambda: "x") == "x"
        world.barrier()
        world.check_device(Device.MPS)


def described(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    plain = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**plain, "MASTER_PORT": "1", **values}.items():
        monkeypatch.setenv(name, value)


def test_environment_of_torchrun_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    described(monkeypatch)
    world = current_world()
    assert (world.rank, world.size, world.local_rank, world.is_writer) == (1, 2, 1, False)
    with pytest.raises(RuntimeUnavailableError, match="not connected"):
        world.barrier()
    for wrong in ({"RANK": "2"}, {"WORLD_SIZE": "many"}):
        described(monkeypatch, **wrong)
        with pytest.raises(UsageError, match="torchrun"):
            current_world()
        described(monkeypatch, RANK="1", WORLD_SIZE="2")


def test_errors_that_do_not_travel_keep_their_words() -> None:
    class LocalError(PhotoTagError):
        """No other process can find this class."""

    lost = distributed._portable(LocalError("cut short"))
    assert type(lost) is PhotoTagError
    assert str(lost) == "cut short"
    same = ModelError("gone")
    assert distributed._portable(same) is same


def test_unreachable_writer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_MESSAGE_SECONDS", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        described(monkeypatch, MASTER_PORT=str(taken.getsockname()[1]))
        with pytest.raises(RuntimeUnavailableError, match="while connecting"):
            current_world().__enter__()


def test_copy_of_the_data_elsewhere_trains_the_same(data: Path, alone: dict[str, Any], tmp_path: Path) -> None:
    made = make_trainer(shutil.copytree(data, tmp_path / "colours"), **HOW)
    assert_same_run(_fit(made), alone)
