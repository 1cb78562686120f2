"""Gates: the least that a metric must reach for a build to pass."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation

from phototag.errors import UsageError
from phototag.evaluation.metrics import SCALARS, Metrics
from phototag.text import percent

COUNTS = frozenset({"photos", "novel_photos"})

LOWER_IS_BETTER = frozenset(
    {"superclass_ece", "subclass_ece", "mistake_severity", "hierarchical_distance", "inconsistent_share"}
)

GATES = tuple(name for name in SCALARS if name not in COUNTS | LOWER_IS_BETTER)
"""The metrics that can be gates: higher is better, and 1 is perfect."""

_ROUNDING = 1e-12  # a mean of ones may come out a hair below 1


def parse_gates(texts: Iterable[str]) -> dict[str, float]:
    """Read gates like "superclass_accuracy=0.95" or "hierarchical_f1=80%" into shares by metric.

    Raises:
        UsageError: no such metric, one that cannot be a gate, a doubled one, or a value outside 0 to 1.
    """
    gates: dict[str, float] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"gate {text!r}: write it as metric=value, for example superclass_accuracy=0.95")
        _check_gate(name)
        if name in gates:
            raise UsageError(f"gate {name!r} is given twice")
        gates[name] = _gate_value(text, value)
    return gates


def failed_gates(metrics: Metrics, gates: Mapping[str, float]) -> list[str]:
    """Return one sentence for each gate that is missed. A metric that is unknown misses its gate.

    Raises:
        UsageError: no such metric, or one that cannot be a gate.
    """
    failures = []
    scalars = metrics.scalars()
    for name, gate in gates.items():
        _check_gate(name)
        value = scalars[name]
        wanted = f"the gate of {percent(gate, None)}"
        if value is None:
            failures.append(f"{name} cannot be known ({_why_unknown(name)}), so {wanted} is missed")
        elif value < gate - _ROUNDING:
            failures.append(f"{name} is {_just_below(value, gate)} %, below {wanted}")
    return failures


def _check_gate(name: str) -> None:
    if name in GATES:
        return
    if name in LOWER_IS_BETTER:
        raise UsageError(f"{name} cannot be a gate to stay above: lower is better there")
    if name in COUNTS:
        raise UsageError(f"{name} is a number of photos, not a share, and cannot be a gate")
    close = difflib.get_close_matches(name, GATES, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    raise UsageError(f"there is no metric {name!r}{hint} These can be gates: {', '.join(GATES)}")


def _gate_value(text: str, value: str) -> float:
    try:
        # Decimal, so that 91.2% is the very same number as 0.912.
        number = Decimal(value.removesuffix("%").strip())
    except InvalidOperation as error:
        raise UsageError(f"gate {text!r}: {value!r} is not a number; write 0.95 or 95%") from error
    share = number / 100 if value.endswith("%") else number
    if not (share.is_finite() and 0 <= share <= 1):
        hint = f"; did you mean {value}%?" if number.is_finite() and 1 < number <= 100 and share == number else ""
        raise UsageError(f"gate {text!r}: the value must lie between 0 and 1, or 0% and 100%{hint}")
    return float(share)


def _just_below(value: float, gate: float) -> str:
    """Return the value in percent, with as many decimals as it takes to look smaller than the gate."""
    for decimals in range(1, 12):
        shown = f"{value * 100:.{decimals}f}"
        if float(shown) < gate * 100:
            break
    return shown


def _why_unknown(name: str) -> str:
    level = name.partition("_")[0]
    reasons = {
        "subclass_top5_accuracy": "no photo with a true subclass has a list of candidates",
        "hierarchical_precision": "no photo got a label",
        "hierarchical_recall": "no photo has a true class",
        "hierarchical_f1": "no photo has a true class or got a label",
        "novel_superclass_rejected": "every photo has a true superclass",
        "novel_subclass_rejected": "no photo has a true superclass without a true subclass",
    }
    if name.endswith("_given"):
        return f"no photo got a {level}"
    return reasons.get(name, f"no photo has a true {level}")
