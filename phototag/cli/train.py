"""`phototag train`."""

from __future__ import annotations

from pathlib import Path

import click

from phototag.cli.options import EnumChoice, device_option
from phototag.inference.names import DEFAULT_BATCH_SIZE, Device
from phototag.learning.config import HIGHEST_TARGET, LEAST_TARGET, Balance, TrainingConfig, Tune

_DEFAULTS = TrainingConfig()


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--backbone",
    default=_DEFAULTS.backbone,
    show_default=True,
    metavar="NAME",
    help="efficientnet_lite0, efficientnet_b0, efficientnetv2_s, convnext_atto, convnext_tiny, convnext_base, or any "
    "other timm name.",
)
@click.option("--weights", type=click.Path(path_type=Path), metavar="FILE", help="Pretrained weights to start from.")
@click.option("--no-pretrained", is_flag=True, help="Start from random weights.")
@click.option("--output", metavar="MODEL", help="A name, or a .safetensors file. [default: made of data and backbone]")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=_DEFAULTS.epochs,
    show_default=True,
    help="Passes over the data by gradient.",
)
@click.option(
    "--img-size",
    type=click.IntRange(32, 2048),
    metavar="N",
    help="Side of the input in pixels. [default: the backbone's own]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=2),
    default=DEFAULT_BATCH_SIZE,
    show_default=True,
    help="Pictures in a step.",
)
@click.option(
    "--lr",
    type=click.FloatRange(0, 1, min_open=True),
    help="Peak learning rate of the backbone. [default: 1e-4; 1e-3 with --no-pretrained]",
)
@click.option(
    "--tune",
    type=EnumChoice(list(Tune)),
    default=Tune.AUTO.value,
    show_default=True,
    help="heads: linear heads on frozen features, in seconds. last, full: go on from them by gradient. auto: heads on "
    "a CPU, full on a GPU.",
)
@click.option("--val", type=click.Path(path_type=Path), metavar="DATA", help="Labelled pictures for validation.")
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 0.9, min_open=True),
    help=f"Share of each class kept for validation. [default: {_DEFAULTS.val_fraction}]",
)
@click.option(
    "--balance",
    type=EnumChoice(list(Balance)),
    default=Balance.NONE.value,
    show_default=True,
    help="Against unequal classes: draw them equally often, or weigh them equally.",
)
@click.option(
    "--target-precision",
    type=click.FloatRange(LEAST_TARGET, HIGHEST_TARGET),
    metavar="X",
    help="Choose thresholds by which this share of the stored labels is right, as far as the validation pictures can "
    "prove it; the rest backs off. [default: thresholds that lose hardly any right label]",
)
@device_option
@click.option("--amp/--no-amp", default=None, help="Mixed precision. [default: on CUDA only]")
@click.option("--workers", type=click.IntRange(min=0, max=256), help="Processes or threads that decode.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of split, order and augmentation.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("--overwrite", is_flag=True, help="Replace an existing model.")
@click.pass_context
def train(
    ctx: click.Context,
    data: Path,
    backbone: str,
    weights: Path | None,
    no_pretrained: bool,
    output: str | None,
    epochs: int,
    img_size: int | None,
    batch_size: int,
    lr: float | None,
    tune: Tune,
    val: Path | None,
    val_fraction: float | None,
    balance: Balance,
    target_precision: float | None,
    device: Device,
    amp: bool | None,
    workers: int | None,
    seed: int,
    resume: bool,
    overwrite: bool,
) -> None:
    """Learn classes from labelled pictures and make the result the active model.

    DATA is a folder superclass/subclass/*.jpg, or a CSV with the columns filepath,superclass,subclass and paths
    relative to it. A share of each class is kept apart to judge the model. Ctrl-C keeps the best model so far.
    """
    if val is not None and val_fraction is not None:
        raise click.UsageError("--val and --val-fraction exclude each other")
    config = TrainingConfig(
        backbone=backbone,
        weights=weights,
        pretrained=not no_pretrained,
        epochs=epochs,
        img_size=img_size,
        batch_size=batch_size,
        lr=lr,
        tune=tune,
        val_fraction=val_fraction or _DEFAULTS.val_fraction,
        balance=balance,
        target_precision=target_precision,
        device=device,
        amp=amp,
        workers=workers,
        seed=seed,
    )
    from phototag.audit.report import calibration_line, coverage_table, table
    from phototag.learning.train import train as run
    from phototag.learning.tuning import validation_scores

    result = run(data, config=config, output=output, val=val, resume=resume, overwrite=overwrite)
    click.echo(table(result.metrics))
    scores = validation_scores(result.model)
    if scores is not None:
        click.echo(f"\n{coverage_table(scores)}")
    judged = f"{result.metrics.photos} validation pictures, by heads or weights that had not learned from them"
    click.echo(f"\nThe figures are of {judged}.", err=True)
    click.echo(calibration_line(result.model.header.record["calibration"]), err=True)
    if result.model.header.record.get("refitted_on_all"):
        click.echo("The model itself was then fitted once more, on all pictures, and calibrated alike.", err=True)
    click.echo(f"Model {result.model.name}: {result.model.path}, {result.seconds:.0f} s. It is active now.", err=True)
    if result.interrupted:
        ctx.exit(1)
