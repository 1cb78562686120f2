"""`phototag train`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from phototag.choices import (
    DEFAULT_BATCH_SIZE,
    HIGHEST_TARGET,
    KEEP_KNOWN,
    KEEP_KNOWN_WITH_TARGET,
    LARGEST_SEED,
    LEAST_KEPT,
    LEAST_TARGET,
    Balance,
    Device,
    GroupsBy,
    Tune,
)
from phototag.cli.labelled import from_keywords_option, keyword_map_option, keywords_db_option, labelled_source
from phototag.cli.messages import say
from phototag.cli.options import (
    EnumChoice,
    GivenPath,
    Number,
    device_option,
    groups_option,
)
from phototag.text import percent
from phototag.training import TrainingConfig

if TYPE_CHECKING:
    from phototag.training import Accuracies, Extension, TrainingResult

_DEFAULTS = TrainingConfig()
_FROM_SCRATCH = TrainingConfig(pretrained=False)
# A difference between parts of the data that is worth a line.
_TOLD_EASE = 0.015


@click.command()
@click.argument("data", type=GivenPath(path_type=Path), required=False)
@from_keywords_option
@keyword_map_option
@keywords_db_option
@click.option(
    "--backbone",
    default=_DEFAULTS.backbone,
    show_default=True,
    metavar="NAME",
    help="efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, efficientnet_b0, efficientnetv2_s, "
    "convnext_atto, convnext_tiny, convnext_base, or any other timm name.",
)
@click.option("--weights", type=GivenPath(path_type=Path), metavar="FILE", help="Pretrained weights to start from.")
@click.option("--no-pretrained", is_flag=True, help="Start from random weights.")
@click.option("--output", metavar="MODEL", help="A name, or a .safetensors file. [default: made of data and backbone]")
@click.option(
    "--epochs",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help=f"Passes over the data by gradient. [default: {_DEFAULTS.epochs}; {_FROM_SCRATCH.epochs} with "
    "--no-pretrained]",
)
@click.option(
    "--img-size",
    type=click.IntRange(32, 2048),
    metavar="N",
    help="Side of the input in pixels. [default: the backbone's own]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(2, 65_536),
    default=DEFAULT_BATCH_SIZE,
    show_default=True,
    help="Pictures in a step, over all processes and parts.",
)
@click.option(
    "--accumulate",
    type=click.IntRange(1, 65_536),
    default=_DEFAULTS.accumulate,
    show_default=True,
    metavar="N",
    help="Parts that a step is computed in, one after the other: for large batches in little memory.",
)
@click.option("--compile", "compiled", is_flag=True, help="Let torch.compile make the gradient steps faster.")
@click.option(
    "--lr",
    type=Number(0, 1, min_open=True),
    metavar="X",
    help=f"Peak learning rate of the backbone. [default: {_DEFAULTS.lr:g}; {_FROM_SCRATCH.lr:g} with --no-pretrained]",
)
@click.option(
    "--tune",
    type=EnumChoice(list(Tune)),
    default=Tune.AUTO.value,
    show_default=True,
    help="heads: linear heads on frozen features, in seconds. last, full: go on from them by gradient. auto: heads on "
    "a CPU, full on a GPU.",
)
@click.option("--val", type=GivenPath(path_type=Path), metavar="DATA", help="Labelled pictures for validation.")
@click.option(
    "--val-fraction",
    type=Number(0, 0.9, min_open=True),
    help=f"Share of each class kept for validation. [default: {_DEFAULTS.val_fraction}]",
)
@groups_option
@click.option(
    "--without",
    type=GivenPath(path_type=Path),
    metavar="FILE",
    help="Leave out the pictures that a CSV lists, as 'phototag dataset check --csv FILE' writes it.",
)
@click.option(
    "--balance",
    type=EnumChoice(list(Balance)),
    default=_DEFAULTS.balance.value,
    show_default=True,
    help="Against unequal classes. sampler: sample all equally often. loss: weigh rare ones more. logits: adjust "
    "scores by how frequent classes are. mix: add mixed pictures of rare ones. auto: what does best on validation "
    "pictures.",
)
@click.option(
    "--target-precision",
    type=Number(LEAST_TARGET, HIGHEST_TARGET),
    metavar="X",
    help="Choose thresholds by which this share of the stored labels is right, as far as the validation pictures can "
    "prove it; the rest backs off. [default: thresholds that lose hardly any right label, higher where fewer than "
    "about 94 % were right then]",
)
@click.option(
    "--keep-known",
    type=Number(LEAST_KEPT, 1),
    metavar="X",
    help="Share of right subclasses that is to be left when novel photos back off. "
    f"[default: {KEEP_KNOWN:g}; {KEEP_KNOWN_WITH_TARGET:g} with --target-precision]",
)
@click.option(
    "--extend",
    metavar="MODEL",
    help="Add the classes of DATA to a trained model, in seconds: its backbone stays, and so do the old classes.",
)
@device_option
@click.option("--amp/--no-amp", default=None, help="Mixed precision. [default: where it is fast]")
@click.option("--workers", type=click.IntRange(min=0, max=256), help="Processes or threads that decode.")
@click.option(
    "--seed",
    type=click.IntRange(0, LARGEST_SEED),
    default=0,
    metavar="N",
    help="Of split, order and augmentation. [default: 0]",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
@click.option("--overwrite", is_flag=True, help="Replace an existing model.")
@click.pass_context
def train(
    ctx: click.Context,
    data: Path | None,
    library: Path | None,
    mapping: Path | None,
    db: str | None,
    backbone: str,
    weights: Path | None,
    no_pretrained: bool,
    output: str | None,
    epochs: int | None,
    img_size: int | None,
    batch_size: int,
    accumulate: int,
    compiled: bool,
    lr: float | None,
    tune: Tune,
    val: Path | None,
    val_fraction: float | None,
    groups: GroupsBy,
    without: Path | None,
    balance: Balance,
    target_precision: float | None,
    keep_known: float | None,
    extend: str | None,
    device: Device,
    amp: bool | None,
    workers: int | None,
    seed: int,
    resume: bool,
    overwrite: bool,
) -> None:
    """Learn classes from labelled pictures and make the result the active model.

    DATA is a folder superclass/subclass/*.jpg, or a CSV with the columns filepath,superclass,subclass and paths
    relative to it. A library with keywords is learned from where it lies, with --from-keywords instead of DATA. A share
    of each class is kept apart to evaluate the model. Ctrl-C keeps the best model so far. A model that was learned from
    a whole library by mistake, or is much worse than the active one, is not made active.
    """
    source = labelled_source(data, library, mapping, db)
    if val is not None and val_fraction is not None:
        raise click.UsageError("--val and --val-fraction exclude each other")
    chosen: dict[str, Any] = {name: value for name, value in (("epochs", epochs), ("lr", lr)) if value is not None}
    config = TrainingConfig(
        backbone=backbone,
        weights=weights,
        pretrained=not no_pretrained,
        img_size=img_size,
        batch_size=batch_size,
        accumulate=accumulate,
        compiled=compiled,
        keep_known=keep_known,
        tune=tune,
        val_fraction=val_fraction or _DEFAULTS.val_fraction,
        groups=groups,
        without=without,
        balance=balance,
        target_precision=target_precision,
        device=device,
        amp=amp,
        workers=workers,
        seed=seed,
        **chosen,
    )
    if extend is not None:
        _refuse_with_extend(ctx)
    from phototag.runtime import current_world
    from phototag.training import train as run

    with current_world() as world:
        result = run(source, config=config, output=output, val=val, extend=extend, resume=resume, overwrite=overwrite)
        # Of several processes that torchrun started, one speaks.
        if world.is_writer:
            _echo(result)
    # Only here: it raises, and the other processes would take that for a failure.
    ctx.exit(1 if result.interrupted else 0)


def _echo(result: TrainingResult) -> None:
    from phototag.report import calibration_line, coverage_table, metrics_text
    from phototag.training import validation_scores

    click.echo(metrics_text(result.metrics))
    scores = validation_scores(result.model)
    if scores is not None:
        click.echo(f"\n{coverage_table(scores)}")
    figures = f"{result.metrics.photos} validation pictures, by heads or weights that had not learned from them"
    say("", f"The figures are of {figures}.")
    say(calibration_line(result.model.header.record["calibration"]))
    by_pictures = result.model.header.record.get("by_pictures")
    if by_pictures is not None:
        say(
            f"Had series been split, picture by picture, it would say: {_both(*by_pictures)}. That is how well it "
            "knows these series again, and not how good it is."
        )
    if "draw" in result.model.header.record:
        _echo_draw(result)
    if result.extension is not None:
        _echo_extension(result.extension)
    if result.model.header.record.get("refitted_on_all"):
        say("The model itself was then fitted again, on all pictures, and calibrated alike.")
    made = f"Model {result.model.name}: {result.model.path}, {result.seconds:.0f} s."
    if not result.inactive:
        say(f"{made} It is active now. Next: phototag tag FOLDER, then phototag serve.")
        return
    say(made, f"It was not made the active model: {result.inactive}.")
    say(f"To use it all the same: phototag model use {shlex.quote(str(result.model.path))}")


def _echo_draw(result: TrainingResult) -> None:
    """Say what to expect of all pictures, where the validation pictures are easier or harder than they."""
    draw = result.model.header.record["draw"]
    eases = [here - all_over for here, all_over in zip(draw["heads"], draw["heads_in_folds"], strict=True)]
    if max(map(abs, eases)) < _TOLD_EASE:
        return
    here, all_over = (_both(*draw[name]) for name in ("heads", "heads_in_folds"))
    metrics = result.metrics
    measured = (metrics.superclass_accuracy, metrics.subclass_accuracy)
    expected = _both(*(min(1.0, (of or 0.0) - ease) for of, ease in zip(measured, eases, strict=True)))
    say(
        f"These pictures are no fair picture of the data: heads alone get {here} of them right, of all pictures "
        f"{all_over}. So expect about {expected}."
    )


def _both(superclass: float, subclass: float) -> str:
    return f"superclass {percent(superclass)}, subclass {percent(subclass)}"


# What decides how a backbone is trained means nothing to a model whose backbone stays.
_OF_BACKBONES = (
    "backbone",
    "weights",
    "no_pretrained",
    "epochs",
    "img_size",
    "batch_size",
    "accumulate",
    "compiled",
    "lr",
    "tune",
    "balance",
    "amp",
    "val",
    "resume",
)


def _refuse_with_extend(ctx: click.Context) -> None:
    given = [
        f"--{name.replace('_', '-')}"
        for name in _OF_BACKBONES
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        names = ", ".join(given).replace("--compiled", "--compile")
        raise click.UsageError(f"--extend leaves the backbone as it is: {names} cannot be given with it")


def _echo_extension(extension: Extension) -> None:
    added = (
        f"{len(extension.added)} subclasses added" if extension.added else "No subclass added, more examples learned"
    )
    say(f"{added}: {', '.join(extension.added)}" if extension.added else added)
    before, after, new = extension.before, extension.after, extension.new
    say(f"Old classes, {before.pictures} pictures: {_change(before, after)}.")
    kept, turned = int(extension.known_before.sum()), extension.turned_novel
    if turned:
        way_out = ". To have fewer: more pictures of the new classes, or a higher --keep-known"
        say(f"Of {kept} of them that the model did not call novel before, it does so with {turned} now{way_out}.")
    if new.subclass is not None and new.superclass is not None:
        say(
            f"Pictures of DATA, {new.pictures}: superclass {percent(new.superclass)}, "
            f"subclass {percent(new.subclass)} right."
        )


def _change(before: Accuracies, after: Accuracies) -> str:
    parts = [
        f"{level} {percent(old)} right before, {percent(now)} after"
        for level, old, now in (
            ("superclass", before.superclass, after.superclass),
            ("subclass", before.subclass, after.subclass),
        )
        if old is not None and now is not None
    ]
    return "; ".join(parts) or "none kept to evaluate on"
