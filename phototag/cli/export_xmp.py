"""`phototag export xmp`."""

from __future__ import annotations

import csv
import io
import os
from typing import TYPE_CHECKING, Any

import click

from phototag.choices import CountBy
from phototag.cli.messages import data_out, say
from phototag.cli.options import Number, db_option
from phototag.cli.query import query
from phototag.cli.tag import terminated_as_interrupted

if TYPE_CHECKING:
    from phototag.store import Query, Store

# The options of `phototag query` but for these say which photos; keywords are of readable ones alone.
_SHOWING = {"min_score", "state", "partners", "limit", "sort", "count", "count_by", "form", "print0", "db"}
_FILTERS = [param for param in query.params if param.name not in _SHOWING]
_FIELDS = {"model_name": "model"}


@click.command("xmp")
@click.option("--dry-run", is_flag=True, help="Write nothing; say what would be written.")
@click.option(
    "--embed",
    is_flag=True,
    help="Write into JPEG files themselves, where Lightroom, Bridge and Windows look; pixels stay as they are. Other "
    "photos get sidecars all the same.",
)
@click.option("--undo", is_flag=True, help="Take out what phototag wrote, and no more.")
@click.option("--again", is_flag=True, help="Write again also what was removed in another program.")
@click.option(
    "--taken-out", is_flag=True, help="Print the photos whose keywords were removed elsewhere, as CSV, and end."
)
@click.option("--min-score", type=Number(0, 1), metavar="X", help="Only a model's labels with this score or more.")
@click.option(
    "--precision",
    type=Number(0.5, 0.999),
    metavar="X",
    help="Only a model's labels of which a share of X is certified to be right. [default: the thresholds of the model]",
)
@db_option
@click.pass_context
def xmp(
    ctx: click.Context,
    /,
    dry_run: bool,
    embed: bool,
    undo: bool,
    again: bool,
    taken_out: bool,
    min_score: float | None,
    precision: float | None,
    db: str | None,
    **filters: Any,
) -> None:
    """Write tags as keywords into XMP sidecars, or with --embed into JPEG files, for other programs.

    Superclass and subclass go into dc:subject, and superclass|subclass into lr:hierarchicalSubject; digiKam's,
    Microsoft's and Media Pro's lists get them where they are in use. Nothing else in a file changes. People's tags go
    out always. A keyword that was removed elsewhere is not written again. A second run writes nothing, and --undo
    takes out what was written, to the byte where no other program wrote since.

    The filters are those of 'phototag query'; without any it is all photos.
    """
    if undo and (embed or again or min_score is not None or precision is not None):
        raise click.UsageError("--undo takes out whatever was written; leave out --embed, --again and the limits")
    if min_score is not None and precision is not None:
        raise click.UsageError("choose either --min-score or --precision")
    from phototag.export import KeywordExporter, KeywordRule, promises
    from phototag.store import Query, Store

    given = {_FIELDS.get(name, name): value for name, value in filters.items() if value not in (None, ())}
    wanted = Query(**given)
    with Store.open(db, create=False) as store:
        if taken_out:
            _print_taken_out(store, wanted if given else None)
            return
        limits = None
        if not undo:
            models = [name for (name,) in store.count_by(wanted, CountBy.MODEL) if name is not None]
            if precision is not None:
                limits = _limits(models, precision)
            elif min_score is None:
                say(*promises(models))
        rule = KeywordRule(min_score or 0.0, limits)
        exporter = KeywordExporter(store, rule, embed=embed, again=again, dry_run=dry_run)
        with terminated_as_interrupted():
            report = exporter.undo(wanted if given else None) if undo else exporter.export(wanted)
        say(*report.lines(dry_run=dry_run, undo=undo))
    if not report.complete:
        ctx.exit(1 if report.handled or report.interrupted else 2)


xmp.params[-1:-1] = _FILTERS


def _limits(models: list[str], precision: float) -> dict[str, tuple[float, float]]:
    """Return the thresholds that certify a precision, by model; those of which none can be certified keep nothing."""
    from phototag.errors import PhotoTagError
    from phototag.evaluation import certified_by_record
    from phototag.model import open_model

    limits = {}
    for name in models:
        try:
            limits[name], warnings = certified_by_record(open_model(name).header.record, precision)
        except PhotoTagError as error:
            say(f"Tags of model {name} are left out: {error}")
            continue
        say(*(f"Model {name}: {warning}" for warning in warnings))
    return limits


def _print_taken_out(store: Store, wanted: Query | None) -> None:
    from phototag.export import find_taken_out

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("path", "file", "keywords"))
    for each in find_taken_out(store, wanted):
        writer.writerow((str(each.photo), os.fspath(each.file), "; ".join(each.keywords)))
    target = data_out()
    target.write(text.getvalue().encode("utf-8", "surrogateescape"))
    target.flush()
