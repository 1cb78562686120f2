"""Strategies against classes of unequal size, each trained on the same long-tailed data and judged on even data.

python benchmarks/long_tail.py DATA [--ratio X] [--seeds N] [--balance auto none ...] [--json FILE] ...

DATA is any labelled data that `phototag train` takes. For each seed, classes are made rare at random, heads are trained
with each strategy through `phototag.training`, and all are judged on the same held-out pictures, equally many of
each class. The last columns are the gain in macro-F1 over `none` with its paired 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

import _report
import _tails
import numpy as np
from _tails import Answers, LongTail

from phototag import settings
from phototag.choices import Balance, GroupsBy, Tune
from phototag.dataset import default_look, grouped, load_data
from phototag.evaluation import score_labelled
from phototag.model import Model
from phototag.runtime import choose_target
from phototag.training import TrainingConfig, train

REFERENCE = Balance.NONE


def main() -> int:
    """Run it; see `--help`."""
    arguments = _parse()
    pictures = grouped(load_data(arguments.data).pictures, GroupsBy.AUTO, default_look(choose_target(), None))
    config = TrainingConfig(
        backbone=arguments.backbone, weights=arguments.weights, img_size=arguments.img_size, tune=Tune.HEADS
    )
    strategies = [REFERENCE, *(name for name in Balance if name in arguments.balance and name is not REFERENCE)]
    answers: dict[Balance, list[Answers]] = {strategy: [] for strategy in strategies}
    rounds: list[dict[str, Any]] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="phototag-benchmark-") as scratch:
        _use_home(Path(scratch))
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            tail = _tails.long_tail(pictures, ratio=arguments.ratio, held_out=arguments.held_out, seed=seed)
            for strategy in strategies:
                _say(f"seed {seed}: {strategy}")
                found, row = _run(tail, replace(config, balance=strategy, seed=seed), Path(scratch))
                answers[strategy].append(found)
                rounds.append(row)
    results = {
        "machine": _report.machine(),
        "data": arguments.data.name,
        "ratio": arguments.ratio,
        "held_out_per_class": arguments.held_out,
        "seeds": arguments.seeds,
        "strategies": {strategy: _summary(found, answers[REFERENCE]) for strategy, found in answers.items()},
        "rounds": rounds,
        "seconds": time.monotonic() - started,
    }
    print(*_as_lines(results, tail), sep="\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [strategy.value for strategy in Balance]
    parser.add_argument("data", type=Path, help="a folder superclass/subclass/*, or a CSV")
    parser.add_argument("--ratio", type=float, default=50, help="pictures of the largest class over the smallest [50]")
    parser.add_argument("--held-out", type=_positive, default=8, metavar="N", help="pictures a class to judge by [8]")
    parser.add_argument("--seeds", type=_positive, default=5, metavar="N", help="long tails to draw [5]")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="of the first one [0]")
    parser.add_argument("--balance", nargs="+", choices=names, default=names, help="strategies beside none [all]")
    parser.add_argument("--backbone", default=TrainingConfig().backbone, help="as for phototag train")
    parser.add_argument("--weights", type=Path, help="as for phototag train")
    parser.add_argument("--img-size", type=_positive, help="as for phototag train")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here too")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not a positive number")
    return number


def _use_home(scratch: Path) -> None:
    """Keep models and settings of whoever runs this out of it, but not the features that a cache already holds."""
    features = settings.cache_folder() / "features"
    os.environ["PHOTOTAG_HOME"] = str(scratch / "home")
    cache = settings.cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    features.mkdir(parents=True, exist_ok=True)
    (cache / "features").symlink_to(features.absolute(), target_is_directory=True)


def _run(tail: LongTail, config: TrainingConfig, scratch: Path) -> tuple[Answers, dict[str, Any]]:
    """Train with one strategy and judge what came of it."""
    training = _tails.write_csv(tail.training, scratch / "training.csv")
    held_out = _tails.write_csv(tail.held_out, scratch / "held-out.csv")
    output = scratch / f"{config.balance}.safetensors"
    result = train(training, config=config, output=output, overwrite=True, activate=False)
    answers = _answers(result.model, held_out, tail)
    row = {
        "seed": config.seed,
        "strategy": config.balance,
        "chosen": _chosen(result.model),
        "training_pictures": len(tail.training),
        "largest_class": max(tail.sizes),
        "smallest_class": min(tail.sizes),
        **_figures(answers),
        "training_seconds": result.seconds,
    }
    return answers, row


def _answers(model: Model, held_out: Path, tail: LongTail) -> Answers:
    found = score_labelled(held_out, model, target=choose_target(), what="judging").validation.subclass
    rare = [name in tail.rare for name in model.header.taxonomy.subclasses]
    return Answers(found.truth, found.best, np.array(rare))


def _chosen(model: Model) -> str | None:
    """The strategy that the model was trained with, as its record tells."""
    kept = model.header.record.get("balance")
    return kept if isinstance(kept, str) else None


def _figures(answers: Answers) -> dict[str, float]:
    return {"macro_f1": answers.macro_f1, "rare_recall": answers.rare_recall, "accuracy": answers.accuracy}


def _summary(found: list[Answers], reference: list[Answers]) -> dict[str, Any]:
    figures = [_figures(answers) for answers in found]
    summary: dict[str, Any] = {name: mean(each[name] for each in figures) for name in figures[0]}
    if found is not reference:
        summary["gain"] = asdict(_tails.gain(found, reference))
    return summary


def _as_lines(results: dict[str, Any], tail: LongTail) -> list[str]:
    lines = [f"{name}: {value}" for name, value in results["machine"].items()]
    lines += [
        "",
        f"{results['data']}: {len(tail.classes)} subclasses with {max(tail.sizes)} to {min(tail.sizes)} training "
        f"pictures, {len(tail.training)} in all; {results['held_out_per_class']} of each held out; "
        f"{results['seeds']} seeds",
        f"  {'balance':<9}{'macro-F1':>9}{'rare recall':>13}{'accuracy':>10}   macro-F1 over {REFERENCE} (95 %)",
    ]
    for strategy, row in results["strategies"].items():
        shown = f"  {strategy:<9}{row['macro_f1']:>9.3f}{row['rare_recall']:>13.3f}{row['accuracy']:>10.3f}"
        if "gain" in row:
            shown += f"   {row['gain']['mean']:+.3f} ({row['gain']['low']:+.3f} to {row['gain']['high']:+.3f})"
        lines.append(shown)
    chosen = [row["chosen"] or "unknown" for row in results["rounds"] if row["strategy"] == Balance.AUTO]
    if chosen:
        lines.append(f"  auto chose: {', '.join(chosen)}")
    return [*lines, f"{results['seconds']:.0f} s in all"]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
