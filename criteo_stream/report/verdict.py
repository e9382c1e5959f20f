"""What the figures mean, in words: the first thing that a page says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from criteo_stream.metrics.figures import Difference
from criteo_stream.metrics.intervals import Interval
from criteo_stream.report.facts import RunFacts
from criteo_stream.runs.history import HistoryLine

_AS_GOOD_AS_ONE: Final = 0.01
"""Calibration that is nearer to 1 is called right, however many rows tell it from 1."""
_RISE: Final = 1.01
"""Rise of the log loss after the best evaluation from which on it is told of."""

Side = Literal[-1, 0, 1]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A sentence, and what else one should know at once."""

    headline: str
    details: list[str]


def verdict(runs: Sequence[RunFacts], split: str) -> Verdict:
    """Judge one run by the base rate, and several by their paired differences from the first."""
    if len(runs) == 1:
        (run,) = runs
        details = [_ranking(run), _calibration(run), _parts(run), _training(run)]
        return Verdict(headline=_against_base_rate(run, split), details=[d for d in details if d])
    first, *later = runs
    pairs = [_pair(run, first) for run in later]
    details = [*pairs] if len(pairs) > 1 else []
    if any(run.difference for run in later):
        details.append(
            f"Paired, on the same rows of the {split} split; 95 % intervals, which do not cover "
            "another seed."
        )
    for run in runs:
        remarks = (_calibration(run, only_if_off=True), _training(run, only_if_off=True))
        details += [f"{run.name}: {remark}" for remark in remarks if remark]
    headline = pairs[0] if len(pairs) == 1 else _groups(first, later)
    return Verdict(headline=headline, details=details)


def amount(value: float, interval: Interval, *, signed: bool = True) -> str:
    """A figure and half of its interval's width, to two digits of the latter: −0.0036 ± 0.0011."""
    half = (interval[1] - interval[0]) / 2
    digits = 6 if half <= 0 else min(6, max(2, 1 - math.floor(math.log10(half))))
    text = f"{value:{'+' if signed else ''}.{digits}f} ± {half:.{digits}f}"
    return text.replace("-", "−")


def side(difference: Difference) -> tuple[Side, Side]:
    """By AUC and by log loss: 1 where a run is better by more than chance, −1 where worse."""
    return _beyond_0(difference.auc_interval), _opposite(_beyond_0(difference.log_loss_interval))


def _pair(run: RunFacts, first: RunFacts) -> str:
    """How a run compares with the first."""
    difference = run.difference
    names = f"{run.name} and {first.name}"
    if difference is None:
        return f"{names} cannot be compared: they were evaluated on different rows"
    auc, loss = side(difference)
    texts = [
        f"{what} {amount(value, interval)}" + ("" if differs or not (auc or loss) else " (chance?)")
        for what, value, interval, differs in (
            ("AUC", difference.auc, difference.auc_interval, auc),
            ("log loss", difference.log_loss, difference.log_loss_interval, loss),
        )
        if value is not None and interval is not None
    ]
    if not texts:
        return f"{names} cannot be compared: the split has too few rows"
    told = ", ".join(texts if auc or not loss else reversed(texts))
    if not auc and not loss:
        return f"No difference can be seen between {names}: {told}"
    if auc and loss and auc != loss:
        ranks, predicts = ("better", "worse") if auc > 0 else ("worse", "better")
        return (
            f"{run.name} ranks {ranks} than {first.name}, but its probabilities are {predicts}: "
            f"{told}"
        )
    return f"{run.name} is {_word(auc or loss)} than {first.name}: {told}"


def _groups(first: RunFacts, later: Sequence[RunFacts]) -> str:
    """Which of several runs are better than the first."""
    found: dict[str, list[str]] = {}
    for run in later:
        found.setdefault(_kind(run.difference), []).append(run.name)
    parts = [
        f"{kind}: {', '.join(found[kind])}"
        for kind in ("better", "worse", "mixed", "no difference seen", "not comparable")
        if kind in found
    ]
    return f"Against {first.name}: " + "; ".join(parts)


def _kind(difference: Difference | None) -> str:
    if difference is None or not (difference.auc_interval or difference.log_loss_interval):
        return "not comparable"
    auc, loss = side(difference)
    if auc and loss and auc != loss:
        return "mixed"
    return _word(auc or loss) if auc or loss else "no difference seen"


def _against_base_rate(run: RunFacts, split: str) -> str:
    found = run.evaluation
    if found.log_loss is None or found.ne is None or found.log_loss_interval is None:
        kind = (
            "no click" if not found.positives else "one kind of row only, or its loss is infinite"
        )
        return f"{run.name} cannot be judged: the {split} split has {kind}"
    base = found.log_loss / found.ne
    low, high = found.log_loss_interval
    told = f"log loss {amount(found.log_loss, (low, high), signed=False)} against {base:.4f}"
    if low <= base <= high:
        return f"{run.name} cannot be told from the base rate: {told}"
    return f"{run.name} is {_word(1 if high < base else -1)} than the base rate: {told}"


def _ranking(run: RunFacts) -> str:
    found = run.evaluation
    if found.auc is None or found.auc_interval is None:
        return ""
    low, high = found.auc_interval
    told = f"AUC {amount(found.auc, (low, high), signed=False)}"
    if found.ne is not None:
        told += f", normalized entropy {found.ne:.4f} (the base rate has 1)"
    return told + ("." if low > 0.5 or high < 0.5 else ": its order may be chance.")


def _calibration(run: RunFacts, *, only_if_off: bool = False) -> str:
    """Whether as many clicks are predicted as came."""
    found, scores = run.evaluation, run.scores
    if found.calibration is None:
        return ""
    p = scores.probabilities
    rows = scores.negatives + scores.positives
    chance = 1.96 * math.sqrt(float(rows @ (p * (1 - p)))) / found.positives
    off = found.calibration - 1
    if abs(off) <= max(chance, _AS_GOOD_AS_ONE):
        if only_if_off:
            return ""
        return f"Calibrated: {found.calibration:.3f} predicted clicks for each actual click."
    return (
        f"{'Predicts' if only_if_off else 'Not calibrated: it predicts'} {abs(off):.1%} "
        f"{'more' if off > 0 else 'fewer'} clicks than there were."
    )


def _parts(run: RunFacts) -> str:
    """In how much of the calibration curve the prediction is right."""
    parts = [part for part in run.evaluation.calibration_curve if part.click_rate_interval]
    inside = sum(
        part.click_rate_interval[0] <= part.predicted <= part.click_rate_interval[1]
        for part in parts
        if part.click_rate_interval
    )
    if len(parts) < 2:
        return ""
    return (
        f"By score, the prediction is within the click rate's 95 % interval in {inside} of "
        f"{len(parts)} groups of rows."
    )


def _training(run: RunFacts, *, only_if_off: bool = False) -> str:
    """Whether training went wrong, and whether it is over."""
    told = []
    lines = [x for x in run.history if x.log_loss is not None]
    if lines:
        told.append(_course(lines) or ("" if only_if_off else "Training did not diverge."))
    if run.steps_done < run.total_steps:
        told.append(f"Training stopped at step {run.steps_done:,} of {run.total_steps:,}.")
    return " ".join(filter(None, told))


def _course(lines: Sequence[HistoryLine]) -> str:
    """What went wrong between the best valid log loss and the last; empty for nothing."""
    last, best = lines[-1], min(lines, key=lambda x: x.log_loss or 0)
    assert last.log_loss is not None
    assert best.log_loss is not None
    is_worse_than_base_rate = last.ne is not None and last.ne > 1
    if last.log_loss <= _RISE * best.log_loss:
        if not is_worse_than_base_rate:
            return ""
        return (
            f"Training did not get better than the base rate: its last valid log loss is "
            f"{last.log_loss:.4f}."
        )
    rose = (
        f"from {best.rows:,} rows on, the valid log loss rose from {best.log_loss:.4f} to "
        f"{last.log_loss:.4f}"
    )
    if last.train_loss < best.train_loss:
        return f"Training overfitted: {rose}, while that of training rows fell."
    if is_worse_than_base_rate:
        return f"Training diverged: {rose}, worse than the base rate."
    return f"Training got worse: {rose}."


def _beyond_0(interval: Interval | None) -> Side:
    if interval is None:
        return 0
    return 1 if interval[0] > 0 else -1 if interval[1] < 0 else 0


def _opposite(of: Side) -> Side:
    return 0 if of == 0 else -1 if of == 1 else 1


def _word(side: Side) -> str:
    return "better" if side > 0 else "worse"
