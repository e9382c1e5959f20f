"""The learning-rate schedule: a linear rise, then a linear fall to zero."""


def learning_rate_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """Share of the peak rate at a step (from 0): a linear rise, then a linear fall to zero.

    Decay within the pass is worth more than further passes: in BARS' benchmark of an FM on
    Kaggle the epoch after the first division of the rate brings .004 AUC.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (total_steps - step) / max(1, total_steps - warmup_steps)
