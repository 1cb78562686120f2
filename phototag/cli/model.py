"""`phototag model`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from phototag.choices import HIGHEST_TARGET, LEAST_TARGET, OutputFormat
from phototag.cli.messages import say
from phototag.cli.model_diff import diff
from phototag.cli.model_reviews import tune_by_reviews
from phototag.cli.options import GivenPath, Number, db_option, format_option
from phototag.text import Column, percent, table

if TYPE_CHECKING:
    from phototag.model import ModelHeader


@click.group()
def model() -> None:
    """List, inspect and choose models."""


@model.command("list")
@format_option
def list_(form: OutputFormat) -> None:
    """List the models; the active one has a star."""
    from phototag.errors import ModelError
    from phototag.model import active_reference, list_models, open_model

    models, broken = list_models()
    active = active_reference()
    if all(active != entry.name for entry in models):
        try:
            models.append(open_model(active))
        except ModelError as error:
            broken.append(f"the active model, {error}; choose another: phototag model use MODEL")
    rows = [
        {
            "name": entry.name,
            "active": active in (entry.name, str(entry.path)),
            "backbone": entry.header.backbone,
            "superclasses": len(entry.header.taxonomy.superclasses),
            "subclasses": len(entry.header.taxonomy.subclasses),
            "superclass_accuracy": entry.header.metrics.get("superclass_accuracy"),
            "subclass_accuracy": entry.header.metrics.get("subclass_accuracy"),
            "path": str(entry.path) if entry.path is not None else None,
        }
        for entry in models
    ]
    if form is OutputFormat.JSON:
        click.echo(json.dumps(rows, indent=2))
    else:
        cells = []
        for entry, row in zip(models, rows, strict=True):
            accuracy = entry.header.metrics.get("subclass_accuracy")
            cells.append(
                (
                    f"{'*' if row['active'] else ' '} {entry.name}",
                    entry.header.backbone,
                    f"{row['superclasses']} / {row['subclasses']} classes",
                    "" if accuracy is None else f"subclass {percent(accuracy)} on validation",
                )
            )
        click.echo("\n".join(table([Column(), Column(width=34), Column(width=18), Column()], cells)))
    for line in broken:
        say(f"Unreadable: {line}")


@model.command()
@click.argument("name", required=False, metavar="[MODEL]")
@format_option
def show(name: str | None, form: OutputFormat) -> None:
    """Show what a model is, how it was trained and how well it did. Without MODEL: the active one."""
    from phototag.model import open_model

    found = open_model(name)
    header = found.header
    if form is OutputFormat.JSON:
        path = str(found.path) if found.path is not None else None
        described = header.to_json()
        # Thousands of numbers for `model tune` and `evaluate` alone.
        for key in ("validation_scores", "contents"):
            described["record"].pop(key, None)
        click.echo(json.dumps({"name": found.name, "path": path, "hash": found.hash, **described}, indent=2))
        return
    taxonomy = header.taxonomy
    lines = [
        ("model", found.name),
        ("file", str(found.path) if found.path is not None else "built in"),
        ("hash", found.hash),
        ("backbone", header.backbone),
        (
            "input",
            f"{header.preprocessing.size} px, the middle {percent(header.preprocessing.crop)} of the shorter side",
        ),
        ("thresholds", f"superclass {header.thresholds.superclass:.4g}, subclass {header.thresholds.subclass:.4g}"),
        ("novel above", _novel_above(header)),
        *_precisions(header.record, header.metrics),
        ("trained", header.created_at),
    ]
    for key in ("source", "weights", "tune", "training_pictures", "validation_pictures", "seconds", "data_digest"):
        if key in header.record:
            lines.append((key.replace("_", " "), str(header.record[key])))
    lines += _lineage(header.record)
    shown = ("superclass_accuracy", "subclass_accuracy", "hierarchical_f1", "subclass_macro_f1")
    for key in shown:
        share = header.metrics.get(key)
        if share is not None:
            lines.append((key.replace("_", " "), percent(share)))
    for superclass, children in zip(taxonomy.superclasses, taxonomy.children, strict=True):
        names = ", ".join(taxonomy.subclasses[index] for index in children[:8])
        more = f" and {len(children) - 8} more" if len(children) > 8 else ""
        lines.append((superclass, f"{len(children)}: {names}{more}"))
    click.echo("\n".join(table([Column(width=20), Column()], [line for line in lines if line[1]])))


def _precisions(record: Mapping[str, Any], metrics: Mapping[str, float | None]) -> list[tuple[str, str]]:
    """Return what is certified or estimated of stored labels, and what the pictures that they were chosen by say."""
    lines = []
    certificate, reviews = record.get("promise"), record.get("reviews")
    # The file is untrusted.
    by_reviews = isinstance(reviews, dict)
    photos, doubts = ("reviewed photos", "not sure") if by_reviews else ("validation pictures", "nothing stored")
    if isinstance(certificate, dict) and isinstance(certificate.get("target_precision"), float):
        target, pictures, groups = (certificate.get(key) for key in ("target_precision", "pictures", "groups"))
        series = "" if groups in (None, pictures) else f" in {groups} groups"
        lines.append(("target precision", f"{target:.4g}, by {pictures} {photos}{series}"))
        withheld = certificate.get("kept_back")
        lines += [(doubts, str(warning)) for warning in (withheld if isinstance(withheld, list) else ())]
    for level in ("superclass", "subclass"):
        precision, coverage = metrics.get(f"{level}_precision_given"), metrics.get(f"{level}_coverage")
        if precision is not None and coverage is not None:
            lines.append((f"{level} stored", f"{percent(precision)} right, for {percent(coverage)} of the {photos}"))
    return lines


def _novel_above(header: ModelHeader) -> str:
    if header.novelty is None:
        return ""
    limits = header.thresholds
    return f"superclass {limits.novel_superclass:.4g}, subclass {limits.novel_subclass:.4g}"


def _lineage(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the models that this one was made from, the oldest first; the file is untrusted."""
    lines = []
    generations = record.get("lineage")
    for ancestor in generations if isinstance(generations, list) else []:
        if isinstance(ancestor, dict):
            added = ancestor.get("then_added")
            names = (
                ", ".join(map(str, added)) if isinstance(added, list) and added else "more pictures of known classes"
            )
            lines.append(
                ("extended from", f"{ancestor.get('name')} ({ancestor.get('subclasses')} subclasses), adding {names}")
            )
    tuned = record.get("tuned_from")
    if isinstance(tuned, dict):
        lines.append(("thresholds tuned of", str(tuned.get("name"))))
    return lines


@model.command()
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
    type=GivenPath(path_type=Path),
    help="Labelled pictures that the model did not learn from, like the photos to tag. [default: the validation "
    "scores in the model file]",
)
@click.option("--reviews", metavar="SAMPLE", help="A reviewed sample of your library, to fit the thresholds to it.")
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
    reviews: str | None,
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
    if reviews is not None:
        if data is not None:
            raise click.UsageError("--reviews and --data exclude each other: both say what is right")
        tune_by_reviews(name, reviews, target_precision, output, overwrite=overwrite, db=db)
        return
    if target_precision is None:
        raise click.UsageError("--target-precision is needed, or --reviews SAMPLE")
    from phototag.model import active_reference
    from phototag.report import coverage_table
    from phototag.training import tune as run

    name = active_reference() if name is None else name
    result = run(name, target_precision=target_precision, data=data, output=output, overwrite=overwrite)
    header = result.model.header
    thresholds = header.thresholds
    click.echo(coverage_table(result.scores))
    click.echo(f"\nthresholds: superclass {thresholds.superclass:.4f}, subclass {thresholds.subclass:.4f}")
    for label, value in _precisions(header.record, header.metrics):
        if label.endswith("stored"):
            click.echo(f"{label}: {value}")
    say(f"Model {result.model.name}: {result.model.path}")
    say("Make it the active one: phototag model use " + shlex.quote(result.model.name))


@model.command()
@click.argument("name", metavar="MODEL")
def use(name: str) -> None:
    """Make MODEL the default: a name, a file, or 'builtin'."""
    from phototag.model import open_model, set_active

    chosen = open_model(name)
    set_active(chosen)
    say(f"Active model: {chosen.name}")


@model.command()
@click.argument("name", metavar="MODEL")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, yes: bool) -> None:
    """Delete MODEL from the models folder. Tags that it gave stay."""
    from phototag.model import model_path, remove_model
    from phototag.settings import models_folder

    # By its path: a damaged model can be removed too. What will be refused is not asked about.
    path = model_path(name)
    if not yes and path.parent == models_folder() and path.exists():
        click.confirm(f"Delete {path}?", abort=True, err=True)
    say(f"Deleted {remove_model(name)}")


model.add_command(diff)
