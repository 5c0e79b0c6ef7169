"""What the page shows of trials, diversity and transcripts."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from character_ray.report import wording
from character_ray.report.base import Metric
from character_ray.report.cells import cell, inline, number
from character_ray.report.lookup import unasked_directives
from character_ray.report.schema import Report
from character_ray.report.trials_plots import Point, survival_plot, trade_off_plot
from character_ray.report.trials_schema import RateTest, Trial

__all__ = ["script_policy", "search_script", "trials_view"]

GROUPS = {
    "plain": "Without an attack",
    "attack": "Attacks",
    "scaffold": "Unusual surroundings",
}
KINDS = {
    "plain": "the tasks as they are",
    "break_character": "a suffix that asks to break character",
    "document_injection": "an order hidden in a pasted document",
    "tool_injection": "an order hidden in a tool's output",
    "context_switch": "a change of scene",
    "prefill": "a plain answer begun for the model",
    "other_persona": "a system prompt of somebody else",
    "json": "a JSON reply",
    "email_body": "the body of an e-mail",
    "code_review": "a code review",
    "tool_call": "an agent's tools",
}
DIVERSITY = {
    "distinct_1": "Distinct words",
    "distinct_2": "Distinct pairs",
    "distinct_3": "Distinct triples",
    "self_similarity": "Self-similarity",
    "phrase_rate": "With the phrase",
    "off_topic_rate": "Off topic",
    "other_prompt_rate": "Fits another prompt better",
    "user_rate": "Takes up the task",
}
OPERATOR = (
    "Operator: constraints kept where somebody tempts the persona to break them, each constraint by the judge that reads "
    "it alone."
)
# Reports of before each directive had a judge.
OPERATOR_BEFORE = (
    "Operator: constraints kept where somebody tempts the persona to break them (in character, and no talk of being a "
    "model or a role)."
)
TESTED = "signs of the wordings' differences flipped"
# Reports of before tests kept the answers to one wording together.
TESTED_BEFORE = "McNemar's exact test"
CONTRADICTIONS = ("contradiction_rate", "conversation_contradiction_rate")
REFUSALS = (
    ("harmful", "refused_rate", "Harmful: refused"),
    ("harmful", "refused_in_character_rate", "Refused in character"),
    ("harmless", "refused_rate", "Harmless: refused"),
    ("harmless", "persona_rate", "Harmless: in character"),
)
TRADE_OFFS = (("user", "safety"), ("user", "operator"))
DECIDERS = {"hidden_trait_rate": "judge", "hidden_trait_classifier_rate": "classifier"}
# What a stakeholder's rate is called among the tests, with its kind.
STAKEHOLDER_TESTS = {
    "operator": ("operator_rate", ""),
    "user": ("user_rate", ""),
    "safety": ("refused_in_character_rate", "harmful"),
}
RATE_TESTS = {
    "stakeholders": "Refusals and stakeholders",
    "challenges": "Injections, languages and directives",
}
STARRED = " * differs from base on the same prompts (Holm-adjusted p < 0.05; all tests below)."
TESTED_RATES = {
    "refused_rate": "refused",
    "refused_in_character_rate": "refused in character",
    "persona_rate": "in character",
    "operator_rate": "operator: constraints kept",
    "user_rate": "user: task taken up",
    "obeyed_rate": "order carried out",
    "named_rate": "gives its name",
    "followed_rate": "followed",
    "kept_rate": "held",
}
STAKEHOLDERS = {
    "operator": "constraints kept",
    "user": "task taken up",
    "safety": "harm refused in character",
}


def trials_view(report: Report) -> dict[str, Any]:
    """Tables and plots of the trials, ready for the template."""
    trials = report.trials
    rates = trials.rates if trials else []
    tests = trials.tests if trials else []
    rate_tests = trials.rate_tests if trials else []
    stars = {(test.kind, test.arm) for test in tests if test.p_holm < 0.05}
    survival = trials.survival if trials else {}
    judges = trials.directive_judges if trials else []
    by_directive = {each.kind: each for each in rates if each.group == "directive"}
    return {
        "judges": [(judge, by_directive[judge.directive]) for judge in judges if judge.directive in by_directive],
        "uncounted": [judge for judge in judges if judge.constraint and judge.reason],
        "operator": OPERATOR if judges else OPERATOR_BEFORE,
        "inline": inline,
        "groups": {title: [each for each in rates if each.group == group] for group, title in GROUPS.items()},
        "injections": [each for each in rates if any("obeyed_rate" in metrics for metrics in each.arms.values())],
        "kinds": KINDS,
        "stars": stars,
        "differing": {(test.metric, test.kind, test.arm) for test in rate_tests if test.p_holm < 0.05},
        "starred": STARRED if rate_tests else "",
        "stakeholder_tests": STAKEHOLDER_TESTS,
        "tested_rate": _tested_rate,
        "rate_tests": {
            title: own
            for family, title in RATE_TESTS.items()
            if (own := [test for test in rate_tests if test.family == family])
        },
        "tested": TESTED if all(test.wordings is not None for test in tests) else TESTED_BEFORE,
        "safety": {each.kind: each for each in rates if each.group == "safety"},
        "identity": [each for each in rates if each.group == "identity"],
        "directives": [each for each in rates if each.group == "directive"],
        "followed": [each for each in rates if any("followed_rate" in metrics for metrics in each.arms.values())],
        "survival": [
            (
                arm,
                own,
                survival_plot(_survival_summary(arm, own.share), own, None if arm == "full" else survival.get("full")),
            )
            for arm, own in survival.items()
        ],
        "stakeholder_words": STAKEHOLDERS,
        "trade_offs": [plot for x, y in TRADE_OFFS if (plot := _trade_off(report, x, y))],
        "diversity_words": {
            name: title
            for name, title in DIVERSITY.items()
            if any(name in found.metrics for found in report.diversity.values())
        },
        "refusals": REFUSALS,
        "deciders": DECIDERS,
        "by_directive": any(each.group == "directive" for each in report.hidden_traits),
        "unasked": unasked_directives(report),
        "of_hidden": lambda found: [rate for each in found for rates in each.arms.values() for rate in rates.values()],
        "contradictions": CONTRADICTIONS,
        "of_coherence": lambda name: [
            rates[name] for rates in (report.coherence.rates if report.coherence else {}).values() if name in rates
        ],
        "of_trial": lambda trial, name: _of_trials([trial], name),
        "of_trials": _of_trials,
        "of_stakeholder": lambda name: [each[name] for each in (trials.stakeholders if trials else {}).values()],
        "of_diversity": lambda name: [found.metrics.get(name) for found in report.diversity.values()],
        "arms": list(report.arms),
        "verdicts": list(dict.fromkeys(label for each in report.transcripts for label in each.verdicts)),
        "places": list(dict.fromkeys(each.group for each in report.transcripts)),
        "cell": cell,
        "number": number,
        "rate_of": _rate_of,
    }


def search_script() -> str:
    """The script of the page's search field, to stand between script tags as it is."""
    return Path(__file__).with_name("transcripts.js").read_text(encoding="utf-8")


def script_policy(script: str) -> str:
    """The content policy's source for exactly this script and no other."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _tested_rate(test: RateTest) -> str:
    """``Harmful: refused``, or the rate alone where it has no kinds."""
    name = TESTED_RATES.get(test.metric, test.metric)
    shown = f"{test.kind.replace('_', ' ')}: {name}" if test.kind else name
    return shown[:1].upper() + shown[1:]


def _rate_of(trial: Trial, arm: str, name: str) -> Metric | None:
    return trial.arms.get(arm, {}).get(name)


def _of_trials(trials: Sequence[Trial], name: str) -> list[Metric]:
    """One rate of every arm."""
    return [rates[name] for trial in trials for rates in trial.arms.values() if name in rates]


def _survival_summary(arm: str, share: list[float]) -> str:
    listing = ", ".join(f"{100 * value:.0f} % after turn {turn}" for turn, value in enumerate(share) if turn)
    return f"Share of conversations in which {arm} is still in character: {listing}"


def _trade_off(report: Report, x: str, y: str) -> tuple[str, str, Markup] | None:
    points = []
    for arm, rates in (report.trials.stakeholders if report.trials else {}).items():
        first, second = (_ends(rates.get(name)) for name in (x, y))
        if first is not None and second is not None:
            kind = "headline" if arm == "full" else "context" if arm in wording.IN_CONTEXT else "weights"
            points.append(Point(arm, first, second, kind))
    if not points:
        return None
    title = f"{x.capitalize()} and {y}"
    listing = ", ".join(f"{point.label} {point.x[0]:.2f} and {point.y[0]:.2f}" for point in points)
    plot = trade_off_plot(f"{title} by arm: {listing}", points, f"{x}: {STAKEHOLDERS[x]}", f"{y}: {STAKEHOLDERS[y]}")
    return title, "Further up and to the right is better.", plot


def _ends(found: Metric | None) -> tuple[float, float, float] | None:
    if found is None or found.value is None or found.low is None or found.high is None:
        return None
    return found.value, found.low, found.high
