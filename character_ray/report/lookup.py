"""Every metric of an arm by one name each, wherever the report keeps it: what bounds and comparisons are about.

persona_rate ...                             arms.<arm>
operator_rate, safety_rate                   trials.stakeholders.<arm>
off_topic_rate, user_rate ...                diversity.<arm>.metrics
contradiction_rate ...                       coherence.rates.<arm>
followed_rate of "Never break character"     trials.rates, of one kind of trial
"""

from character_ray.report.schema import Metric, Report

__all__ = ["all_metrics", "trial_kinds", "trial_metrics"]


def all_metrics(report: Report, arm: str) -> dict[str, Metric]:
    """An arm's own metrics, its stakeholders' rates, diversity and contradictions; empty for an arm that the report has not."""
    stakeholders = report.trials.stakeholders.get(arm, {}) if report.trials else {}
    return {
        **report.arms.get(arm, {}),
        **{f"{name}_rate": metric for name, metric in stakeholders.items()},
        **(report.diversity[arm].metrics if arm in report.diversity else {}),
        **(report.coherence.rates.get(arm, {}) if report.coherence else {}),
    }


def trial_kinds(report: Report) -> list[str]:
    """Every kind of trial: attacks, scaffolds, languages, directives."""
    return [trial.kind for trial in report.trials.rates] if report.trials else []


def trial_metrics(report: Report, arm: str, kind: str) -> dict[str, Metric]:
    """The rates of one kind of trial; empty where it was not asked."""
    trials = report.trials.rates if report.trials else []
    return next((trial.arms.get(arm, {}) for trial in trials if trial.kind == kind), {})
