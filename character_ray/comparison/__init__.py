"""What reports say together: bounds that a run must keep, and runs beside each other."""

from character_ray.comparison.compare import Comparison, Shift, compare_runs, decide_answers
from character_ray.comparison.gate import Bound, Verdict, check_bounds, parse_bound
from character_ray.comparison.publish import publish_run

__all__ = [
    "Bound",
    "Comparison",
    "Shift",
    "Verdict",
    "check_bounds",
    "compare_runs",
    "decide_answers",
    "parse_bound",
    "publish_run",
]
