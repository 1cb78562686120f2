"""`phototag evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from phototag.choices import Device, OutputFormat, RuntimeName
from phototag.cli.messages import say
from phototag.cli.options import (
    GivenPath,
    batch_size_option,
    check_report,
    device_option,
    format_option,
    model_option,
    runtime_option,
    workers_option,
)


@click.command()
@click.argument("data", type=GivenPath(path_type=Path))
@model_option
@format_option
@click.option(
    "--report",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write an HTML page with charts, and JSON beside it.",
)
@device_option
@runtime_option
@batch_size_option
@workers_option
def evaluate(
    data: Path,
    model_name: str | None,
    form: OutputFormat,
    report: Path | None,
    device: Device,
    runtime: RuntimeName,
    batch_size: int | None,
    workers: int | None,
) -> None:
    """Evaluate a model on labelled pictures that it did not learn from.

    DATA is a folder superclass/subclass/*.jpg, or a CSV with the columns filepath,superclass,subclass. A subclass or
    superclass that is empty in a CSV, or that the model does not know, says that the picture is of none of the model's
    classes at that level.
    """
    check_report(report)
    from phototag.evaluation import examine
    from phototag.report import build_evaluation_page, coverage_table, metrics_json, metrics_text

    found = examine(data, model=model_name, device=device, runtime=runtime, batch_size=batch_size, workers=workers)
    described = metrics_json(found.metrics, coverages=found.coverages, unknown_labels=found.unknown)
    if report is not None:
        from phototag.files import write_text
        from phototag.report import write_page

        write_page(build_evaluation_page(found), report)
        write_text(report.with_suffix(".json"), described)
    if form is OutputFormat.JSON:
        click.echo(described)
    else:
        click.echo(f"{metrics_text(found.metrics)}\n\n{coverage_table(found.validation)}")
    if report is not None:
        say(f"Report: {report.absolute()}, figures: {report.with_suffix('.json').absolute()}")
