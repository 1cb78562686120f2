"""`phototag watch` and `phototag status`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phototag.choices import OutputFormat
from phototag.cli.formats import ROW_FORMATS, print_rows
from phototag.cli.messages import say
from phototag.cli.options import (
    EnumChoice,
    GivenPath,
    Number,
    TaggingOptions,
    db_option,
    format_option,
    tagging_options,
)
from phototag.cli.tag import batch_rows, open_store, stored_rows, summarise
from phototag.text import Column, table

if TYPE_CHECKING:
    from phototag.tagging import Batch

_STREAMED = (OutputFormat.NDJSON, OutputFormat.CSV)


class _Watched(GivenPath):
    """A path that can be watched."""

    not_objects = (
        "object storage tells of no changes; run 'phototag tag' on it now and then, as by cron or a systemd timer: "
        "what did not change costs a listing, no more"
    )


@click.command()
@click.argument("paths", nargs=-1, required=True, type=_Watched(readable=False), metavar="PATH...")
@click.option("--once", is_flag=True, help="Catch up, and exit.")
@click.option("--poll", is_flag=True, help="Ask the system for no events; look through the folders again and again.")
@click.option(
    "--settle",
    "settle_seconds",
    type=Number(0, 86_400),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a file that no program closed has to stand still before it is read.",
)
@click.option(
    "--rescan",
    "rescan_seconds",
    type=Number(1, 31_536_000),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="How long until everything is looked through again.",
)
@tagging_options
@click.option("--force", is_flag=True, help="Run the network on every photo in the first scan.")
@click.option(
    "--sidecars",
    is_flag=True,
    help="Write the tags of each batch as keywords into XMP sidecars, as 'phototag export xmp' does.",
)
@click.option(
    "--format",
    "form",
    type=EnumChoice(ROW_FORMATS),
    help="Print the photos: ndjson and csv as they are tagged, table and json with --once, when done.",
)
@click.pass_context
def watch(
    ctx: click.Context,
    paths: tuple[str, ...],
    once: bool,
    poll: bool,
    settle_seconds: float,
    rescan_seconds: float,
    options: TaggingOptions,
    force: bool,
    sidecars: bool,
    form: OutputFormat | None,
) -> None:
    """Keep the tags of all photos at or below PATH up to date, for as long as it runs.

    Starts with a scan, then follows what happens to the folders. Photos that vanish are marked missing and keep their
    tags for when they come back. Ctrl-C (or SIGTERM) finishes the batch in hand; a second one leaves at once. Nothing
    is lost either way. One watcher runs on a database at a time; 'phototag status' says what it does.
    """
    from phototag.export import KeywordSink
    from phototag.library import resolve_roots
    from phototag.tagging import WatchService, lost_labels

    if form is not None and form not in _STREAMED and not once:
        raise click.UsageError(f"--format {form} has an end; without --once use ndjson or csv")
    with options.tagger() as tagger, open_store(options.db, dry_run=False) as store:
        roots = [root for root in resolve_roots(paths) if isinstance(root, Path)]
        header = True

        def show(batch: Batch) -> None:
            nonlocal header
            print_rows(batch_rows(batch, tagger.model.name), form or OutputFormat.NDJSON, header=header)
            header = False

        service = WatchService(
            tagger,
            store,
            roots,
            poll=poll,
            settle_seconds=settle_seconds,
            rescan_seconds=rescan_seconds,
            exclude=options.exclude,
            force=force,
            say=say,
            sinks=[*([KeywordSink(store, say)] if sidecars else ()), *([show] if form in _STREAMED else ())],
        )
        with stopped_by_signals(service.stop):
            report = service.run(once=once)
        if once:
            if form is not None and form not in _STREAMED:
                print_rows(stored_rows(store, roots, options.exclude), form)
            summarise(report, tagger.model.name, dry_run=False)
            say(*lost_labels(report.reasons, tagger.header, tagger.model.name))
            if not report.complete:
                ctx.exit(2 if report.problems and not report.photos else 1)
        else:
            say("Stopped; everything done so far is stored.")


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP call `stop`, the second end the process; stored batches are complete."""
    asked = False

    def handle(number: int, _: object) -> None:
        nonlocal asked
        if asked:
            os._exit(128 + number)
        asked = True
        # Not through Python's own buffers, which this may have interrupted.
        os.write(2, b"Finishing the batch in hand; again to leave at once.\n")
        stop()

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
@click.option(
    "--check",
    is_flag=True,
    help="Exit with 1 unless a watcher runs and was heard of in the last ten minutes: for health checks.",
)
@db_option
@format_option
@click.pass_context
def status(ctx: click.Context, check: bool, db: str | None, form: OutputFormat) -> None:
    """Say what the watcher of a database does, or what it did last."""
    from phototag.tagging import is_well, watcher_status

    found = watcher_status(db)
    click.echo(json.dumps(found, indent=2) if form is OutputFormat.JSON else _described(found))
    if check and not is_well(found):
        ctx.exit(1)


def _described(found: dict[str, Any]) -> str:
    note = found["watcher"]
    lines: list[tuple[str, str]] = []
    if note is not None:
        try:
            lines = _watcher_lines(note, running=found["running"])
        except (KeyError, TypeError, ValueError, AttributeError):
            # A file that any program, or another version, may have written.
            lines = [("watcher", "left a note that this phototag does not understand")]
    if found["holder"] is not None and not found["running"]:
        lines.append(("writing", f"phototag {found['holder']['command']} (process {found['holder']['pid']})"))
    photos = ", ".join(f"{number:,} {state}" for state, number in found["photos"].items())
    lines.append(("database", f"{found['database']}: {photos or 'no photos'}"))
    told = [] if note is not None else ["No watcher has run on this database; start one with: phototag watch FOLDER"]
    return "\n".join([*told, *table([Column(width=9), Column()], lines)])


def _watcher_lines(note: dict[str, Any], *, running: bool) -> list[tuple[str, str]]:
    state = note["doing"] if running else f"not running, {_ended(note)}"
    lines = [("watcher", f"{state} (process {note['pid']} on {note['host']}, model {note['model']})")]
    lines += [("root", _root(root)) for root in note["roots"]]
    lines.append(("queue", f"{note['queue']:,} waiting"))
    totals = ", ".join(f"{number:,} {name}" for name, number in note["totals"].items())
    rate = f"; last {note['photos_per_second']:g} photos/s" if note["photos_per_second"] else ""
    lines.append(("done", f"{totals or 'nothing yet'}{rate}"))
    lines += [("failed", f"{each['at']} {each['path']}: {each['error']}") for each in note["failures"][-5:]]
    lines += [("said", str(notice["text"])) for notice in note["notices"][-5:]]
    return lines


def _root(root: dict[str, Any]) -> str:
    scan = f", scanned {root['last_scan_at']} in {root['last_scan_seconds']:g} s" if "last_scan_at" in root else ""
    suspended = ", suspended: no photos there" if root.get("suspended") else ""
    return f"{root['path']} ({root['mode']}{scan}{suspended})"


def _ended(note: dict[str, Any]) -> str:
    return f"stopped {note['stopped_at']}" if note["stopped_at"] else f"ended without a word after {note['updated_at']}"
