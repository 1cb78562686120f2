"""Options that several commands share."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from phototag.choices import DecodeOn, Device, GroupsBy, OutputFormat, Precision, RuntimeName
from phototag.files import check_writable
from phototag.imaging import MAX_MEGAPIXELS
from phototag.paths import absolute, is_address
from phototag.records import LEVELS

if TYPE_CHECKING:
    from phototag.cluster import WorkerSetup
    from phototag.tagging import Tagger

Choice = TypeVar("Choice", bound=StrEnum)


class EnumChoice(click.Choice[Choice]):
    """A choice from an enum, written by its values; click itself writes the names."""

    def normalize_choice(self, choice: Any, ctx: click.Context | None) -> str:
        return str(choice)


class GivenPath(click.Path):
    """A path. An empty one, as of a variable that is not set, is none: it does not mean the working folder."""

    not_objects = "it lies in object storage, which only 'phototag tag' and --under take; copy it to a folder"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; write . for the working folder", param, ctx)
        if is_address(value):
            self.fail(f"{value}: {self.not_objects}", param, ctx)
        return super().convert(value, param, ctx)


class PhotoPlace(GivenPath):
    """Where photos lie: a path, which is made absolute, or an address in object storage."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return absolute(value if is_address(value) else super().convert(value, param, ctx))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Moment(click.ParamType[datetime]):
    """A day or a time as ISO 8601 has them; without a zone it is local time."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value.strip())
        except ValueError:
            self.fail(f"{value!r} is no date like 2026-05-31 or 2026-05-31T08:00:00", param, ctx)
        try:
            return moment.astimezone(UTC)
        except (OverflowError, ValueError, OSError):  # at the ends of the calendar, where zones make no difference
            return moment.replace(tzinfo=UTC)


class Near(click.ParamType[tuple[float, float, float]]):
    """Latitude and longitude in degrees and a distance in km, separated by commas. A query checks their ranges."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float]:
        try:
            latitude, longitude, km = (float(part) for part in (value.split(",") if isinstance(value, str) else value))
        except ValueError:
            self.fail(f"{value!r} is no LAT,LON,KM like 52.52,13.40,5", param, ctx)
        return latitude, longitude, km


class Number(click.FloatRange):
    """A number in a range. NaN, which is neither below nor above anything, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number in the range {self._describe_range()}.", param, ctx)
        return number


class SharedOption(click.Option):
    """An option of several commands: its variable names the command, PHOTOTAG_TAG_DB, or all of them, PHOTOTAG_DB."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        name = self.opts[0].removeprefix("--").replace("-", "_").upper()
        own = f"{ctx.auto_envvar_prefix}_{name}"
        return os.environ.get(own) or os.environ.get(f"PHOTOTAG_{name}") or None


Command = TypeVar("Command", bound=Callable[..., Any])

db_option = click.option(
    "--db",
    cls=SharedOption,
    metavar="DB",
    help="Database: a path or an SQLAlchemy URL. [default: in the platform's data folder]",
)
format_option = click.option(
    "--format",
    "form",
    type=EnumChoice([OutputFormat.TABLE, OutputFormat.JSON]),
    default=OutputFormat.TABLE.value,
    show_default=True,
)
model_option = click.option(
    "--model",
    "model_name",
    cls=SharedOption,
    metavar="MODEL",
    help="Model: a file, or a name that 'phototag model list' shows. [default: the active one]",
)
groups_option = click.option(
    "--groups",
    type=EnumChoice(list(GroupsBy)),
    default=GroupsBy.AUTO.value,
    show_default=True,
    help="What tells which pictures are of one series, and so stay on one side of every split. auto: the column "
    "'group' of a CSV, else their looks and when they were taken. folder: the folder they lie in, also below that of "
    "the class.",
)
device_option = click.option(
    "--device",
    type=EnumChoice(list(Device)),
    default=Device.AUTO.value,
    cls=SharedOption,
    show_default=True,
    help="Where the network runs.",
)
runtime_option = click.option(
    "--runtime",
    type=EnumChoice(list(RuntimeName)),
    default=RuntimeName.AUTO.value,
    cls=SharedOption,
    show_default=True,
    help="What runs the network.",
)
precision_option = click.option(
    "--runtime-precision",
    "precision",
    type=EnumChoice(list(Precision)),
    default=Precision.AUTO.value,
    cls=SharedOption,
    show_default=True,
    help="What the network computes with. Photos left in doubt are computed in f32 too; auto: what gains most.",
)
batch_size_option = click.option(
    "--batch-size",
    type=click.IntRange(min=1, max=4096),
    cls=SharedOption,
    help="Photos in a batch. [default: 32 on a CPU, as many as fit well on a GPU]",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1, max=256),
    cls=SharedOption,
    help="Threads that decode. [default: one a core]",
)
jobs_option = click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1, max=1024),
    cls=SharedOption,
    metavar="N",
    help="Use at most N cores. [default: all]",
)
compile_option = click.option("--compile", "compiled", is_flag=True, help="Let torch.compile speed up a GPU.")
decode_on_option = click.option(
    "--decode-on",
    type=EnumChoice(list(DecodeOn)),
    default=DecodeOn.CPU.value,
    cls=SharedOption,
    show_default=True,
    help="gpu: let a CUDA device decode the JPEG files that it can.",
)
exclude_option = click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out files and folders of that name, or path below PATH if it has a slash. Repeatable.",
)
max_megapixels_option = click.option(
    "--max-megapixels",
    type=click.IntRange(min=1, max=10_000),
    default=MAX_MEGAPIXELS,
    cls=SharedOption,
    show_default=True,
    help="Refuse larger pictures.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOptions:
    """What the user chose of `device_options`: how this machine computes."""

    batch_size: int | None
    device: Device
    runtime: RuntimeName
    jobs: int | None
    workers: int | None
    compiled: bool
    decode_on: DecodeOn

    def worker_setup(self, **chosen: Any) -> WorkerSetup:
        """Return how a worker computes on devices like these; `chosen` are the model and what else is for all."""
        from phototag.cluster import WorkerSetup

        return WorkerSetup(**{each.name: getattr(self, each.name) for each in fields(DeviceOptions)}, **chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggingOptions(DeviceOptions):
    """What the user chose of `tagging_options`."""

    model_name: str | None
    db: str | None
    precision: Precision
    exclude: tuple[str, ...]
    max_megapixels: int

    def tagger(self, *, elsewhere: bool = False) -> Tagger:
        """Make the tagger they describe, in a process that keeps to the cores it may use.

        One that computes `elsewhere` needs no device here.
        """
        from phototag.runtime import use_cores
        from phototag.tagging import Tagger

        if elsewhere:
            return Tagger(self.model_name, workers=self.workers, jobs=self.jobs)
        if self.jobs is not None:
            use_cores(self.jobs)
        return Tagger(
            self.model_name,
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
            batch_size=self.batch_size,
            workers=self.workers,
            jobs=self.jobs,
            compiled=self.compiled,
            max_megapixels=self.max_megapixels,
            decode_on=self.decode_on,
        )


def _options(chosen_class: type[DeviceOptions], *decorators: Callable[..., Any]) -> Callable[..., Any]:
    """Return what adds options to a command, which gets them as `options`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(*args: Any, **values: Any) -> None:
            chosen = {field.name: values.pop(field.name) for field in fields(chosen_class)}
            command(*args, options=chosen_class(**chosen), **values)

        decorated: Callable[..., None] = run
        for decorator in reversed(decorators):
            decorated = decorator(decorated)
        return decorated

    return decorate


device_options = _options(
    DeviceOptions,
    *(batch_size_option, device_option, runtime_option, jobs_option, workers_option, compile_option, decode_on_option),
)
"""Add the options of how a machine computes."""
tagging_options = _options(
    TaggingOptions,
    *(model_option, db_option, batch_size_option, device_option, runtime_option, precision_option),
    *(jobs_option, workers_option, compile_option, decode_on_option, exclude_option, max_megapixels_option),
)
"""Add the options of everything that tags."""


cluster_option = click.option(
    "--cluster",
    metavar="WHERE",
    help="Run the network elsewhere. ray: workers of Ray on this computer; auto or HOST:PORT: a Ray cluster that runs; "
    "queue: 'phototag worker', wherever it runs on the same PostgreSQL database. [default: in this process]",
)


def check_report(page: Path | None) -> None:
    """Refuse a --report that cannot be written, before all the work for it; its figures lie beside it."""
    if page is None:
        return
    if page.suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"--report {page}: name a file that ends in .html")
    for file in (page, page.with_suffix(".json")):
        check_writable(file)


def gates_option(command: Command) -> Command:
    """Add --fail-under METRIC=VALUE, repeatable."""
    decorate = click.option(
        "--fail-under",
        "gates",
        multiple=True,
        metavar="METRIC=VALUE",
        help="Exit with 1 if a metric is lower, as in subclass_accuracy=0.9 or hierarchical_f1=90%. Repeatable.",
    )
    return decorate(command)


def novelty_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the limits on novelty to a command."""
    for level in reversed(LEVELS):
        command = click.option(
            f"--novel-{level}-threshold",
            type=Number(0, 1),
            metavar="X",
            help=f"Most that the probability of an unknown {level} may be, 0 to 1; 1 lets all pass. [default: the "
            "model's]",
        )(command)
    return command
