"""`phototag tag`."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from phototag.choices import OutputFormat
from phototag.cli.formats import ROW_FORMATS, print_rows
from phototag.cli.messages import say
from phototag.cli.options import EnumChoice, PhotoPlace, TaggingOptions, cluster_option, tagging_options
from phototag.imaging import FORMAT_NAMES
from phototag.paths import PhotoPath
from phototag.records import NO_FACTS, PhotoState, Source, TaggedPhoto

if TYPE_CHECKING:
    from phototag.store import Store
    from phototag.tagging import Batch, Executor, SavingExecutor, Tagger, TagReport


_HELP = f"""Tag all photos at or below PATH and store the tags.

{FORMAT_NAMES}. Left out are hidden files, symbolic links, other formats, and what systems keep in folders of their own:
thumbnails, recycle bins. Photos that did not change since the last run are skipped. Ctrl-C loses nothing: run it again
to go on.
"""


@click.command(help=_HELP)
@click.argument("paths", nargs=-1, required=True, type=PhotoPlace(readable=False), metavar="PATH...")
@tagging_options
@click.option("--force", is_flag=True, help="Run the network on every photo, also on unchanged ones.")
@cluster_option
@click.option("--dry-run", is_flag=True, help="Write nothing to the database; print all tags instead.")
@click.option(
    "--format",
    "form",
    type=EnumChoice(ROW_FORMATS),
    help="Print the photos below PATH with their tags when done. [default: nothing; a table with --dry-run]",
)
@click.pass_context
def tag(
    ctx: click.Context,
    paths: tuple[PhotoPath, ...],
    options: TaggingOptions,
    force: bool,
    cluster: str | None,
    dry_run: bool,
    form: OutputFormat | None,
) -> None:
    """Tag photos."""
    from phototag.library import is_gone, resolve_roots
    from phototag.tagging import lost_labels

    if cluster == "queue" and dry_run:
        raise click.UsageError("--dry-run writes nothing, and the workers of --cluster queue do; give one of them")
    # Before the database is opened: a mistyped name should not leave a new one behind.
    with options.tagger(elsewhere=cluster is not None) as tagger:
        roots = resolve_roots(paths)
        with (
            open_store(options.db, dry_run=dry_run) as store,
            terminated_as_interrupted(),
            executor_of(cluster, options, tagger, store) as executor,
        ):
            rows: list[TaggedPhoto] = []

            def keep(batch: Batch) -> None:
                rows.extend(batch_rows(batch, tagger.model.name))

            report = tagger.tag(
                roots,
                store,
                force=force,
                dry_run=dry_run,
                exclude=options.exclude,
                sinks=[keep] if dry_run else (),
                executor=executor,
            )
            if dry_run:
                new = {row.path for row in rows}
                unchanged = (row for row in stored_rows(store, roots, options.exclude) if row.path not in new)
                rows += (row for row in unchanged if not is_gone(row.path))
                rows.sort(key=lambda row: row.path)
                print_rows(rows, form or OutputFormat.TABLE)
            elif form is not None:
                print_rows(stored_rows(store, roots, options.exclude), form)
            kept = 0 if dry_run else _named_by_humans(store, roots, options.exclude)
            summarise(report, tagger.model.name, dry_run=dry_run, kept=kept)
            say(*lost_labels(report.reasons, tagger.header, tagger.model.name))
    if not report.complete:
        ctx.exit(2 if report.problems and not report.photos else 1)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let a polite request to end (SIGTERM) stop as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def executor_of(
    cluster: str | None, options: TaggingOptions, tagger: Tagger, store: Store
) -> Iterator[Executor | SavingExecutor | None]:
    """Give what computes the batches where `--cluster` says; None is the tagger itself."""
    if cluster is None:
        yield None
        return
    from phototag.cluster import QueueExecutor, RayExecutor, RaySession

    setup = options.worker_setup(model=tagger.model, precision=options.precision, max_megapixels=options.max_megapixels)
    if cluster == "queue":
        yield QueueExecutor(setup, store, say)
        return
    session = RaySession(cores=options.jobs) if cluster == "ray" else RaySession(cluster)
    with session, RayExecutor(setup, session) as executor:
        yield executor


@contextmanager
def open_store(db: str | None, *, dry_run: bool) -> Iterator[Store]:
    """Open the database; for a dry run one in memory where there is none."""
    from phototag.errors import MissingDatabaseError
    from phototag.store import Store

    if not dry_run:
        with Store.open(db) as store:
            yield store
        return
    try:
        store = Store.open(db, create=False)
    except MissingDatabaseError:
        # A dry run needs no database, and makes none.
        store = Store.open("sqlite://")
    with store:
        yield store


def stored_rows(store: Store, roots: Sequence[PhotoPath], exclude: Sequence[str]) -> Iterator[TaggedPhoto]:
    """Yield the rows of all photos at or under some roots, but for what was left out."""
    from phototag.library import Exclusion
    from phototag.store import Query

    exclusion = Exclusion(exclude)
    for root in roots:
        for row in store.query(Query(under=root)):
            if not exclusion.covers(row.path, root):
                yield row


def batch_rows(batch: Batch, model: str) -> Iterator[TaggedPhoto]:
    """Yield the rows of a batch that was just tagged, as a query would give them."""
    from phototag.store import StoredTag

    now = datetime.now(UTC)
    for item in batch.items:
        tag, capture = (item.tag, item.capture) if isinstance(item, StoredTag) else (None, None)
        facts = NO_FACTS if capture is None else capture.facts
        yield TaggedPhoto(
            path=item.photo.path,
            superclass=tag.superclass if tag else None,
            subclass=tag.subclass if tag else None,
            rank=tag.rank if tag else None,
            superclass_score=tag.superclass_score if tag else None,
            subclass_score=tag.subclass_score if tag else None,
            novelty=tag.novelty if tag else None,
            source=Source.MODEL if tag else None,
            model=model if tag else None,
            tagged_at=now if tag else None,
            state=PhotoState.OK if isinstance(item, StoredTag) else item.kind.state,
            error=None if isinstance(item, StoredTag) else item.reason,
            reason=tag.reason if tag else None,
            taken_at=facts.moment,
            camera=facts.camera,
            latitude=facts.latitude,
            longitude=facts.longitude,
        )


def _named_by_humans(store: Store, roots: Sequence[PhotoPath], exclude: Sequence[str]) -> int:
    """Return how many photos at or under some roots have a human's tag, which no model replaces."""
    from phototag.library import Exclusion
    from phototag.store import Query

    exclusion = Exclusion(exclude)
    return sum(
        row.state is not PhotoState.MISSING and not exclusion.covers(row.path, root)
        for root in roots
        for row in store.query(Query(under=root, source=Source.HUMAN))
    )


def summarise(report: TagReport, model: str, *, dry_run: bool, kept: int = 0) -> None:
    """Print the summary on stderr: what was done, what failed and why, what to do next; `kept` have a human's tag."""
    for failure in report.failures:
        say(f"  {failure.photo.path}: {failure.reason}")
    if report.failed > len(report.failures):
        say("  all of them: phototag query --state unreadable --format json")
    for problem in report.problems:
        say(f"  {problem}")
    if not report.photos and not report.problems and not report.interrupted:
        say(*filter(None, ["No pictures found there.", report.left_out.line()]))
        return
    parts = [f"{report.tagged:,} tagged", f"{report.unchanged:,} unchanged"]
    reused = report.tagged - report.inferred
    if reused:
        parts[0] += f" ({reused:,} from stored scores)"
    if report.failed > report.given_up:
        kinds = ", ".join(f"{number} {kind.replace('_', ' ')}" for kind, number in report.failure_kinds.most_common())
        parts.append(f"{report.failed - report.given_up:,} failed ({kinds})")
    if report.given_up:
        parts.append(f"{report.given_up:,} given up earlier")
    if kept:
        parts.append(f"{kept:,} {'keeps' if kept == 1 else 'keep'} a human's tag")
    if report.moved:
        parts.append(f"{report.moved:,} moved")
    if report.missing:
        parts.append(f"{report.missing:,} missing")
    busy = report.seconds - report.load_seconds
    rate = f" ({report.load_seconds:.1f} s loading), {report.inferred / busy:.0f} photos/s" if report.inferred else ""
    say(f"{', '.join(parts)}; model {model}, {report.seconds:.1f} s{rate}.")
    say(*filter(None, [report.unread_line, report.left_out.line()]))
    if report.interrupted:
        say("Interrupted; what was tagged is stored. Run it again to go on.")
    elif dry_run:
        say("Dry run: nothing was stored.")
