"""`phototag compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from phototag.choices import DEFAULT_BATCH_SIZE, Device, GroupsBy, OutputFormat, Tune
from phototag.cli.messages import say
from phototag.cli.options import (
    EnumChoice,
    GivenPath,
    Number,
    check_report,
    device_option,
    format_option,
    groups_option,
)
from phototag.training import TrainingConfig

_DEFAULTS = TrainingConfig()
_FROM_RANDOM = TrainingConfig(pretrained=False)
_INTERRUPTED = 1


def _weights(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> dict[str, Path]:
    """Return each given BACKBONE=FILE as a table."""
    table = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise click.BadParameter(f"{text!r}: write it as BACKBONE=FILE")
        if name in table:
            raise click.BadParameter(f"{name} is given twice")
        table[name] = Path(file)
    return table


@click.command()
@click.argument("data", type=GivenPath(path_type=Path))
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    required=True,
    metavar="NAME",
    help="A backbone to compare, as for 'phototag train'; give two or more.",
)
@click.option(
    "--weights",
    multiple=True,
    callback=_weights,
    metavar="NAME=FILE",
    help="Pretrained weights that a backbone starts from. Repeatable.",
)
@click.option("--no-pretrained", is_flag=True, help="Start all of them from random weights.")
@click.option(
    "--tune",
    type=EnumChoice(list(Tune)),
    default=Tune.AUTO.value,
    show_default=True,
    help="What learns, as for 'phototag train'.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="Passes over the data by gradient, the same for all. "
    f"[default: {_DEFAULTS.epochs}; {_FROM_RANDOM.epochs} with --no-pretrained]",
)
@click.option(
    "--img-size",
    type=click.IntRange(32, 2048),
    metavar="N",
    help="Side of the input in pixels. [default: each backbone's own; with --no-pretrained the pictures', if smaller]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(2, 65_536),
    default=DEFAULT_BATCH_SIZE,
    show_default=True,
    help="Pictures in a step.",
)
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Trainings of each backbone.")
@click.option(
    "--test-fraction",
    type=Number(0, 0.9, min_open=True),
    default=0.2,
    show_default=True,
    help="Share of each class kept for the test.",
)
@groups_option
@click.option(
    "--report",
    type=GivenPath(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write an HTML page, and JSON beside it.",
)
@format_option
@device_option
@click.option("--workers", type=click.IntRange(min=0, max=256), help="Processes or threads that decode.")
@click.option(
    "--output",
    type=GivenPath(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep all models and results there. [default: results in the cache]",
)
@click.pass_context
def compare(
    ctx: click.Context,
    data: Path,
    backbones: tuple[str, ...],
    weights: dict[str, Path],
    no_pretrained: bool,
    tune: Tune,
    epochs: int | None,
    img_size: int | None,
    batch_size: int,
    seeds: int,
    test_fraction: float,
    groups: GroupsBy,
    report: Path | None,
    form: OutputFormat,
    device: Device,
    workers: int | None,
    output: Path | None,
) -> None:
    """Train backbones alike on labelled pictures and say which differences between them are real.

    DATA is a folder superclass/subclass/*.jpg, or a CSV with the columns filepath,superclass,subclass. A part of each
    class is kept for the test, and a tenth of the subclasses is left out of the training to serve as novel. Every
    backbone is trained with several seeds. After Ctrl-C the same command goes on with the trainings that are missing.
    """
    check_report(report)
    chosen: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    config = TrainingConfig(
        pretrained=not no_pretrained,
        tune=tune,
        img_size=img_size,
        batch_size=batch_size,
        device=device,
        workers=workers,
        groups=groups,
        **chosen,
    )
    from phototag.comparison import ComparisonConfig
    from phototag.comparison import compare as run

    wanted = ComparisonConfig(
        backbones=backbones, training=config, weights=weights, seeds=seeds, test_fraction=test_fraction
    )
    try:
        comparison = run(data, wanted, output=output)
    except KeyboardInterrupt:
        say("", "Interrupted: finished trainings are kept; the same command goes on from there.")
        ctx.exit(_INTERRUPTED)
    described = comparison.to_json()
    if report is not None:
        from phototag.files import write_text
        from phototag.report import build_comparison_page, write_page

        write_page(build_comparison_page(comparison), report)
        write_text(report.with_suffix(".json"), json.dumps(described, allow_nan=False, indent=1))
    click.echo(json.dumps(described, allow_nan=False) if form is OutputFormat.JSON else comparison.table())
    if report is not None:
        say(f"Report: {report.absolute()}, figures: {report.with_suffix('.json').absolute()}")
    say(f"Results of the trainings: {comparison.folder}")
