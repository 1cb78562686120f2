"""`phototag model tune`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phototag.choices import HIGHEST_TARGET, LEAST_TARGET, PrecisionBasis
from phototag.cli.messages import say
from phototag.cli.options import Number, db_option
from phototag.records import LEVELS
from phototag.text import Column, numbers, percent, percent_range, table

if TYPE_CHECKING:
    from phototag.evaluation import LibraryFigure
    from phototag.model import Model
    from phototag.training import LibraryTuning

_BASES = {
    PrecisionBasis.CERTIFIED: "certified, with 90 % confidence",
    PrecisionBasis.ESTIMATED: "estimated, 95 % sure",
    PrecisionBasis.LIKELY: "estimated, 75 % sure",
    PrecisionBasis.NONE: "not reached: none stored",
}


@click.command()
@click.argument("name", required=False, metavar="[MODEL]")
@click.option(
    "--target-precision",
    type=Number(LEAST_TARGET, HIGHEST_TARGET),
    metavar="X",
    help="The share of stored labels that is to be right. [required without --reviews; default with it: the model's "
    "own, else 0.9]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labelled pictures that the model did not learn from, like the photos to tag. [default: the validation "
    "scores in the model file]",
)
@click.option("--reviews", "sample", metavar="SAMPLE", help="A reviewed sample of your library: fit MODEL to it.")
@click.option(
    "--output",
    metavar="MODEL",
    help="A name, or a .safetensors file. [default: the name with the target, or -reviewed, appended]",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing model.")
@db_option
def tune(
    name: str | None,
    target_precision: float | None,
    data: Path | None,
    sample: str | None,
    output: str | None,
    overwrite: bool,
    db: str | None,
) -> None:
    """Write a copy of MODEL with thresholds by which a share X of the stored labels is right.

    What falls below backs off: to the superclass, or to no label. The precision is certified for photos like the
    labelled ones, with 90 % confidence at each level. Without MODEL: the active one.

    With --reviews thresholds and limits on novelty are those for your library, by the photos that you reviewed
    ('phototag audit sample', 'phototag audit review') and the stored scores of all: certified where the reviews prove
    it, else estimated. Then 'phototag retag' applies them.
    """
    if sample is not None:
        if data is not None:
            raise click.UsageError("--reviews and --data exclude each other: both say what is right")
        _for_library(name, sample, target_precision, output, overwrite=overwrite, db=db)
        return
    if target_precision is None:
        raise click.UsageError("--target-precision is needed, or --reviews SAMPLE")
    from phototag.model import active_reference
    from phototag.report import coverage_table
    from phototag.training import tune as run

    reference = active_reference() if name is None else name
    result = run(reference, target_precision=target_precision, data=data, output=output, overwrite=overwrite)
    header = result.model.header
    click.echo(coverage_table(result.scores))
    _print_thresholds(result.model)
    for label, value in precisions(header.record, header.metrics):
        if label.endswith("stored"):
            click.echo(f"{label}: {value}")
    _say_next(result.model)


def _for_library(
    name: str | None, sample: str, target: float | None, output: str | None, *, overwrite: bool, db: str | None
) -> None:
    from phototag.audit import read_library_scores
    from phototag.model import open_model
    from phototag.store import Store
    from phototag.training import tune_for_library

    with Store.open(db, create=False) as store:
        library = read_library_scores(store, sample, open_model(name))
    result = tune_for_library(name, library, target_precision=target, output=output, overwrite=overwrite)
    click.echo(f"{len(library.reviewed):,} reviewed of {len(library.scores):,} photos; target {result.target:g}\n")
    click.echo("\n".join(_table(result)))
    _print_thresholds(result.model)
    limits = result.model.header.thresholds
    if result.model.header.novelty is not None:
        click.echo(f"novel above: superclass {limits.novel_superclass:.4f}, subclass {limits.novel_subclass:.4f}")
    say("", "Afterwards: each reviewed photo by thresholds from reviews of photos unlike it, with 95 % intervals.")
    for warning in result.warnings:
        say(f"Not sure: {warning}")
    _say_next(result.model)
    say("Then decide the stored photos again: phototag retag")


def _table(result: LibraryTuning) -> list[str]:
    columns = [Column("labels stored"), *numbers("before", "right", "afterwards", "right", width=10)]
    columns += [*numbers("interval", width=16), Column("target")]
    rows = [
        (
            level,
            percent(before.coverage),
            percent(before.precision),
            percent(after.coverage),
            percent(after.precision),
            _interval(after),
            _BASES[basis],
        )
        for level, before, after, basis in zip(LEVELS, result.before, result.after, result.bases, strict=True)
    ]
    return table(columns, rows)


def _interval(figure: LibraryFigure) -> str:
    return "-" if figure.low is None or figure.high is None else percent_range(figure.low, figure.high)


def _print_thresholds(model: Model) -> None:
    thresholds = model.header.thresholds
    click.echo(f"\nthresholds: superclass {thresholds.superclass:.4f}, subclass {thresholds.subclass:.4f}")


def _say_next(model: Model) -> None:
    say(f"Model {model.name}: {model.path}")
    say("Make it the active one: phototag model use " + shlex.quote(model.name))


def precisions(record: Mapping[str, Any], metrics: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """Return what is certified or estimated of stored labels, and what the pictures that they were chosen by say."""
    lines = []
    certificate, reviews = record.get("promise"), record.get("reviews")
    # The file is untrusted.
    by_reviews = isinstance(reviews, dict)
    photos, doubts = ("reviewed photos", "not sure") if by_reviews else ("validation pictures", "nothing stored")
    if isinstance(certificate, dict) and isinstance(certificate.get("target_precision"), float):
        lines.append(
            ("target precision", f"{certificate['target_precision']:.4g}, by {certificate.get('pictures')} {photos}")
        )
        withheld = certificate.get("kept_back")
        lines += [(doubts, str(warning)) for warning in (withheld if isinstance(withheld, list) else ())]
    for level in ("superclass", "subclass"):
        precision, coverage = metrics.get(f"{level}_precision_given"), metrics.get(f"{level}_coverage")
        if precision is not None and coverage is not None:
            lines.append((f"{level} stored", f"{percent(precision)} right, for {percent(coverage)} of the {photos}"))
    return lines
