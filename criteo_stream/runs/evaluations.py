"""How often a run is evaluated, and on how many rows, where the user leaves it open.

An evaluation takes about a third of what training on as many rows takes, and the checkpoint that
it ends in comes on top: with large tables that is most of it. All evaluations together may take a
tenth of the training, but for small sets, where that would leave a curve of few points. At the end
of an epoch the whole valid split is measured; within it the same first rows of the split each time,
so that figures compare.
"""

from typing import Final, NamedTuple

_MOST: Final = 15
"""Evaluations in a run: enough to see the shape of a curve."""
_LEAST: Final = 6
"""Evaluations in the smallest run; they take a second, or fewer are made."""
_LEAST_OF_ALL: Final = 3
"""Evaluations in any run, however large its checkpoints are."""
_BUDGET: Final = 0.3
"""Rows that all evaluations may read, for each row that is trained on."""
_CHECKPOINT: Final = 60_000
"""Rows that could be read while a small checkpoint is written and an evaluation begins."""
_WEIGHTS_A_ROW: Final = 42
"""Weights of a large checkpoint, with two moments each, that are written while a row is read."""
ROWS_STEP: Final = 65_536
"""Rows are taken in batches of this many."""
_MOST_ROWS: Final = 16 * ROWS_STEP
"""Beyond a million rows, chance moves an AUC by less than what tells two models apart."""


class EvaluationPlan(NamedTuple):
    """When and on what a run is evaluated."""

    every: int
    """Training rows of an epoch between two evaluations; 0 for its end only."""
    rows: int
    """Rows of the valid split for those within an epoch; 0 for all."""


def planned(
    rows: int, epochs: int, valid: int, *, patient: bool, weights: int = 0
) -> EvaluationPlan:
    """The plan of a run.

    Args:
        rows: training rows of an epoch.
        epochs: passes over them.
        valid: rows of the valid split.
        patient: whether the run may stop early: evaluations are then whole epochs apart, which is
            how patience is counted.
        weights: of the tables, which each evaluation saves.
    """
    if patient or not valid:
        return EvaluationPlan(0, 0)
    at_ends = epochs * valid
    checkpoint = max(_CHECKPOINT, weights // _WEIGHTS_A_ROW)
    # However large the valid split is, a curve has some points before its end.
    budget = max(_BUDGET * rows * epochs - at_ends, _BUDGET * rows * epochs / 3)
    share = int(budget / _MOST - checkpoint) // ROWS_STEP * ROWS_STEP
    sample = min(max(share, ROWS_STEP), _MOST_ROWS, valid)
    within = int(budget / (sample + checkpoint)) // epochs
    least = max(_LEAST * (ROWS_STEP + _CHECKPOINT) // (ROWS_STEP + checkpoint), _LEAST_OF_ALL)
    parts = min(max(within + 1, -(-least // epochs)), max(_MOST // epochs, 1))
    return EvaluationPlan(-(-rows // parts) if parts > 1 else 0, 0 if sample == valid else sample)
