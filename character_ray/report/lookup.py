"""Every metric of an arm by one name each, wherever the report keeps it: what bounds and comparisons are about.

persona_rate ...                             arms.<arm>
operator_rate, safety_rate                   trials.stakeholders.<arm>
off_topic_rate, user_rate ...                diversity.<arm>.metrics
contradiction_rate ...                       coherence.rates.<arm>
hidden_trait_classifier_rate                 hidden_traits, of all probes
followed_rate of "Never break character"     trials.rates, of one kind of trial
hidden_trait_rate of "Never break character" hidden_traits, of one directive
"""

from character_ray.report.schema import Metric, Report

__all__ = ["all_metrics", "trial_kinds", "trial_metrics", "unasked_directives"]


def all_metrics(report: Report, arm: str) -> dict[str, Metric]:
    """An arm's own metrics, its stakeholders' rates, diversity and contradictions; empty for an arm that the report has not."""
    stakeholders = report.trials.stakeholders.get(arm, {}) if report.trials else {}
    return {
        **_hidden(report, arm, "all", "probes"),
        **report.arms.get(arm, {}),
        **{f"{name}_rate": metric for name, metric in stakeholders.items()},
        **(report.diversity[arm].metrics if arm in report.diversity else {}),
        **(report.coherence.rates.get(arm, {}) if report.coherence else {}),
    }


def trial_kinds(report: Report, group: str = "") -> list[str]:
    """Every kind of trial: attacks, scaffolds, languages, directives; or those of one group."""
    trials = report.trials.rates if report.trials else []
    return [trial.kind for trial in trials if group in ("", trial.group)]


def unasked_directives(report: Report) -> list[str]:
    """Directives of the constitution without any occasion among the trials."""
    asked = trial_kinds(report, "directive")
    return [directive for directive in report.constitution.directives if directive not in asked]


def trial_metrics(report: Report, arm: str, kind: str) -> dict[str, Metric]:
    """The rates of one kind of trial; empty where it was not asked."""
    trials = report.trials.rates if report.trials else []
    own = next((trial.arms.get(arm, {}) for trial in trials if trial.kind == kind), {})
    return {**own, **_hidden(report, arm, "directive", kind)}


def _hidden(report: Report, arm: str, group: str, kind: str) -> dict[str, Metric]:
    """How often the character shows unasked, by the likelihood judge and by the classifier."""
    return next(
        (each.arms.get(arm, {}) for each in report.hidden_traits if (each.group, each.kind) == (group, kind)), {}
    )
