"""The learning rate's course over a run: warmup, stable, decay; and how often a run evaluates, samples and saves.

Source: Hu et al. 2024, MiniCPM (arXiv:2404.06395), section 4; the decay shape 1 - sqrt is from Haegele et al. 2024,
Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations (arXiv:2405.18392), section 3.
"""

import math
from itertools import count


def learning_rate_factor(
    step: int, *, steps: int, warmup_steps: int, cooldown_steps: int, final_fraction: float
) -> float:
    """The factor in [0, 1] by which the peak learning rates are multiplied for the update that ends step `step`.

    step counts from 1 to `steps`; the last one has factor `final_fraction`.
    """
    if step <= warmup_steps:
        return step / max(1, warmup_steps)
    remaining = steps - step
    if remaining >= cooldown_steps:
        return 1.0
    progress = 1 - remaining / max(1, cooldown_steps)
    return final_fraction + (1 - final_fraction) * (1 - math.sqrt(progress))


def divide_steps(steps: int, every: int) -> int:
    """`every` or a little more: the least with which the last part of the run is nearly as long as the others."""
    return next(size for size in count(min(every, steps)) if -steps % size <= size // 4)
