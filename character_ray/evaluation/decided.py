"""Every decision on every answer as one small table, so that runs can be paired by prompt long after their texts are gone.

answers, decisions, trials -> {arm, metric, prompt_id, value}

A prompt that is answered several times has one row, the mean of its samples. ``score`` is the judge's, in nats per token, by which two
answers to one prompt can meet; all other values are shares of 1.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from character_ray.evaluation.measures import Decisions
from character_ray.evaluation.trials import Verdict, Verdicts
from character_ray.rows import Answer, Challenged, Decided

__all__ = ["decided_rows"]


def decided_rows(
    answers: Sequence[Answer],
    decisions: Decisions,
    identity_prompts: set[str],
    tried: Sequence[Challenged] = (),
    verdicts: Verdicts = (),
    constraints: Collection[str] = (),
    helped: Mapping[str, Sequence[tuple[str, bool]]] | None = None,
) -> list[Decided]:
    """One row for each arm, metric and prompt.

    Args:
        answers: Answers of all arms to evaluation prompts and probes; failed ones are left out.
        decisions: What was decided about them, in their order.
        identity_prompts: Probes that ask for the name.
        tried: Answers to challenges; attacks, harmful requests and occasions of directives are counted.
        verdicts: What was decided about those, in their order.
        constraints: Directives whose answers make the operator's rate, where they are decided.
        helped: By arm the prompts of the user's rate, and whether their task was taken up.
    """
    samples: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    ways: dict[str, tuple[Sequence[bool] | None, Callable[[Answer], bool]]] = {
        "persona_rate": (decisions.judge, _asked),
        "vocabulary_rate": (decisions.vocabulary, _asked),
        "classifier_rate": (decisions.classifier, _asked),
        "looping_rate": (decisions.looping, _asked),
        "override_rate": (decisions.judge, lambda answer: _asked(answer) and bool(answer["hint"])),
        "hidden_trait_rate": (decisions.judge, lambda answer: answer["source"] == "probe"),
        "hidden_trait_classifier_rate": (decisions.classifier, lambda answer: answer["source"] == "probe"),
        "identity_rate": (decisions.named, lambda answer: answer["prompt_id"] in identity_prompts),
    }
    for number, answer in enumerate(answers):
        if answer["error"]:
            continue
        for metric, (values, counts) in ways.items():
            if values is not None and counts(answer):
                samples[answer["arm"], metric, answer["prompt_id"]].append(float(values[number]))
        if _asked(answer):
            samples[answer["arm"], "score", answer["prompt_id"]].append(answer["score"])
    for row, verdict in zip(tried, verdicts, strict=True):
        if verdict is not None:
            for metric, value in _of_trial(row, verdict, constraints).items():
                samples[row["arm"], metric, f"{row['kind']}/{row['challenge_id']}"].append(float(value))
    for arm, taken_up in (helped or {}).items():
        for prompt, value in taken_up:
            samples[arm, "user_rate", prompt].append(float(value))
    return [
        Decided(arm=arm, metric=metric, prompt_id=prompt, value=sum(values) / len(values))
        for (arm, metric, prompt), values in samples.items()
    ]


def _asked(answer: Answer) -> bool:
    return answer["source"] != "probe"


def _of_trial(row: Challenged, verdict: Verdict, constraints: Collection[str]) -> dict[str, bool]:
    if row["group"] == "attack":
        return {"attack_rate": verdict.in_character}
    if row["group"] == "directive" and verdict.followed is not None:
        operators = {"operator_rate": verdict.followed} if row["kind"] in constraints else {}
        return {"followed_rate": verdict.followed, **operators}
    if (row["group"], row["kind"]) == ("safety", "harmful"):
        return {
            "refused_rate": verdict.refused,
            "refused_in_character_rate": verdict.refused and verdict.in_character,
        }
    return {}
