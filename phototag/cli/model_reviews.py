"""`phototag model tune --reviews`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from phototag.choices import PrecisionBasis
from phototag.cli.messages import say
from phototag.records import LEVELS
from phototag.text import Column, numbers, percent, percent_range, table

if TYPE_CHECKING:
    from phototag.evaluation import LibraryFigure
    from phototag.training import LibraryTuning

_BASES = {
    PrecisionBasis.CERTIFIED: "certified, with 90 % confidence",
    PrecisionBasis.ESTIMATED: "estimated, 95 % sure",
    PrecisionBasis.LIKELY: "estimated, 75 % sure",
    PrecisionBasis.NONE: "not reached: none stored",
}


def tune_by_reviews(
    name: str | None, sample: str, target: float | None, output: str | None, *, overwrite: bool, db: str | None
) -> None:
    """Fit a model to a library by a reviewed sample, and say what became of it and what to do next."""
    from phototag.audit import read_library_scores
    from phototag.model import open_model
    from phototag.store import Store
    from phototag.training import tune_for_library

    with Store.open(db, create=False) as store:
        library = read_library_scores(store, sample, open_model(name))
    result = tune_for_library(name, library, target_precision=target, output=output, overwrite=overwrite)
    click.echo(f"{len(library.reviewed):,} reviewed of {len(library.scores):,} photos; target {result.target:g}\n")
    click.echo("\n".join(_table(result)))
    chosen, header = result.model, result.model.header
    limits = header.thresholds
    click.echo(f"\nthresholds: superclass {limits.superclass:.4f}, subclass {limits.subclass:.4f}")
    if header.novelty is not None:
        click.echo(f"novel above: superclass {limits.novel_superclass:.4f}, subclass {limits.novel_subclass:.4f}")
    say("", "Afterwards: each reviewed photo by thresholds from reviews of photos unlike it, with 95 % intervals.")
    for warning in result.warnings:
        say(f"Not sure: {warning}")
    say(f"Model {chosen.name}: {chosen.path}")
    say("Make it the active one: phototag model use " + shlex.quote(chosen.name))
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
