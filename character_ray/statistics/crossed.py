"""Intervals over seeds and prompts at once: every seed answers the same prompts, and both are samples of what could have been.

The value of seed s on prompt p is taken as ``mean + a_s + b_p + e_sp``. With S seeds and P prompts the mean of all has the variance

    var(a) / S + var(b) / P + var(e) / (S P)  =  V_seeds + V_prompts - V_rest

of the two-way analysis of variance, and Satterthwaite's degrees of freedom. With one seed nothing is known of ``a``: the interval is then
over prompts alone, and is called so. Where prompts show no spread, as when all values are the same, the interval is
:func:`~character_ray.statistics.unvaried_bounds` on their number.
"""

from collections.abc import Mapping

import numpy as np

from character_ray.statistics.intervals import SAME, Interval, unvaried_bounds

__all__ = ["crossed_interval"]

BySeed = Mapping[int, Mapping[str, float]]
"""For each seed the value on each prompt."""


def crossed_interval(values: BySeed, *, bounds: tuple[float, float]) -> Interval:
    """Mean over seeds and prompts with its 95 % interval.

    Args:
        values: Values by seed and prompt; prompts that not every seed answered are left out.
        bounds: Smallest and largest possible value; the interval is cut there.

    Returns:
        The interval; ``n`` is the number of prompts.

    Raises:
        ValueError: There is no seed, or the seeds share no prompt.
    """
    from scipy.stats import t

    shared = sorted(set.intersection(*(set(found) for found in values.values()))) if values else []
    if not shared:
        raise ValueError(f"{len(values)} seeds that share no prompt")
    table_SP = np.array([[found[prompt] for prompt in shared] for found in values.values()])
    seeds, prompts = table_SP.shape
    value = float(table_SP.mean())
    method = f"{seeds} seeds x {prompts} prompts" if seeds > 1 else f"1 seed, {prompts} prompts"
    if np.ptp(table_SP) < SAME or prompts < 2:
        return _unvaried(value, prompts, bounds, method)
    of_prompts = float(table_SP.mean(0).var(ddof=1)) / prompts
    variance, freedom = of_prompts, float(prompts - 1)
    if seeds > 1:
        of_seeds = float(table_SP.mean(1).var(ddof=1)) / seeds
        rest_SP = table_SP - table_SP.mean(0) - table_SP.mean(1, keepdims=True) + value
        of_rest = float((rest_SP**2).sum()) / ((seeds - 1) * (prompts - 1)) / (seeds * prompts)
        variance = max(of_prompts + of_seeds - of_rest, of_prompts, of_seeds)
        parts = of_prompts**2 / (prompts - 1) + of_seeds**2 / (seeds - 1)
        freedom = max((of_prompts + of_seeds) ** 2 / parts, 1.0) if parts else float(prompts - 1)
    if variance < SAME**2:  # what differs cancels out in every prompt and every seed
        return _unvaried(value, prompts, bounds, method)
    reach = float(t.ppf(0.975, freedom)) * variance**0.5
    low, high = max(value - reach, bounds[0]), min(value + reach, bounds[1])
    return Interval(value, low, high, prompts, f"two-way analysis of variance, {method}")


def _unvaried(value: float, prompts: int, bounds: tuple[float, float], method: str) -> Interval:
    low, high = unvaried_bounds(value, prompts, bounds)
    return Interval(value, low, high, prompts, f"Clopper-Pearson on {prompts} prompts without spread, {method}")
