"""`phototag evaluate`."""

from __future__ import annotations

from pathlib import Path

import click

from phototag.cli.options import batch_size_option, device_option, model_option, runtime_option, workers_option
from phototag.inference.names import Device, RuntimeName


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@model_option
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@device_option
@runtime_option
@batch_size_option
@workers_option
def evaluate(
    data: Path,
    model_name: str | None,
    form: str,
    device: Device,
    runtime: RuntimeName,
    batch_size: int | None,
    workers: int | None,
) -> None:
    """Judge a model on labelled pictures that it did not learn from.

    DATA is a folder superclass/subclass/*.jpg, or a CSV with the columns filepath,superclass,subclass. In a CSV an
    empty subclass or superclass says that the picture is of none of the model's classes at that level.
    """
    from phototag.audit import report
    from phototag.audit.evaluate import evaluate as run

    metrics = run(data, model=model_name, device=device, runtime=runtime, batch_size=batch_size, workers=workers)
    click.echo(report.json_text(metrics) if form == "json" else report.table(metrics))
