"""What reports say together: bounds that a run must keep, and runs beside each other."""

from character_ray.comparison.compare import Comparison, Shift, compare_runs, decide_answers
from character_ray.comparison.gate import Bound, Verdict, check_bounds, parse_bound, parse_bounds
from character_ray.comparison.page import write_comparison_page
from character_ray.comparison.publish import promote_version, publish_run
from character_ray.comparison.tables import Table, metric_table, shift_table, to_markdown

__all__ = [
    "Bound",
    "Comparison",
    "Shift",
    "Table",
    "Verdict",
    "check_bounds",
    "compare_runs",
    "decide_answers",
    "metric_table",
    "parse_bound",
    "parse_bounds",
    "promote_version",
    "publish_run",
    "shift_table",
    "to_markdown",
    "write_comparison_page",
]
