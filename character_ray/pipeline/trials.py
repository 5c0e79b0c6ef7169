"""From the answers to challenges and erosion conversations to the report's part about them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from character_ray.config import Arm, FilterConfig
from character_ray.constitution import names_itself, vocabulary_pattern
from character_ray.encoder import Encoder
from character_ray.evaluation.diversity import count_words, diversity, nearer_others, on_topic
from character_ray.evaluation.measures import Decisions
from character_ray.evaluation.rate_tests import rate_tests
from character_ray.evaluation.stakeholders import stakeholders, user_rate
from character_ray.evaluation.survival import end_of_persona, survival, survival_tests
from character_ray.evaluation.trials import (
    DISAGREES,
    Verdicts,
    judge_trials,
    trial_rates,
    trial_tests,
    trial_verdicts,
)
from character_ray.inference.likelihood import ScoreRequest
from character_ray.inference.passes import Generation, ScriptedTalks
from character_ray.models import ENCODER, resolve_model
from character_ray.pipeline.answers import Exam, Part
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.directives import DirectivesFollowed
from character_ray.rows import Answer, Challenged, Talk
from character_ray.stages.filters import drop_reason
from character_ray.stages.refusals import looks_refused

__all__ = [
    "collect_trials",
    "diversity_report",
    "judge_all",
    "score_requests",
    "transcripts",
    "trials_report",
    "with_scores",
]

# What conversations of before recorded as an error.
EMPTY = "came back empty"
LEAVES_ROLE = ("identity_leak", "role_meta")
# Only what is said counts here, not how long or how finished it is.
_ANY_FORM = FilterConfig(allow_unfinished=True, min_words=1, max_repetition=1.0, languages=())


def collect_trials(
    exam: Exam, generations: Mapping[tuple[Arm, Part], Generation], arms: Sequence[Arm]
) -> list[Challenged]:
    """Every answer to a challenge and every turn of an erosion conversation, not yet scored."""
    rows: list[Challenged] = []
    for arm in arms:
        asked = generations.get((arm, "challenges"))
        for challenge, completion in zip(exam.challenges, asked.spoken() if asked else (), strict=bool(asked)):
            rows.append(
                Challenged(
                    row_id=f"{arm}/{completion['row_id']}",
                    arm=arm,
                    group=challenge.group,
                    kind=challenge.kind,
                    challenge_id=challenge.challenge_id,
                    wording=challenge.wording,
                    turn=0,
                    prompt=challenge.prompt,
                    system=challenge.system,
                    begun=challenge.begun,
                    canary=challenge.canary,
                    completion=completion["completion"],
                    error=completion["error"],
                    score=math.nan,
                )
            )
        held = generations.get((arm, "erosion"))
        if isinstance(held, ScriptedTalks):
            for script, talk in zip(exam.scripts, held.talks(), strict=True):
                rows += _turns(arm, script.script_id, talk)
    return rows


def _turns(arm: Arm, script: str, talk: Talk) -> list[Challenged]:
    """Every turn of a conversation as far as it went. An empty reply is an answer; one that the engine could not give has an error."""
    said = [turn["content"] for turn in talk["messages"]]
    replies: list[str | None] = [*said[1::2], *([None] * (len(said) % 2))]
    return [
        Challenged(
            row_id=f"{arm}/{talk['row_id']}/{number}",
            arm=arm,
            group="erosion",
            kind="erosion",
            challenge_id=script,
            wording=script,
            turn=number,
            prompt=line,
            system="",
            begun="",
            canary="",
            completion=reply or "",
            error=""
            if reply is not None or EMPTY in talk["error"]
            else talk["error"] or talk["drop_reason"] or "no answer",
            score=math.nan,
        )
        for number, (line, reply) in enumerate(zip(said[::2], replies, strict=True), 1)
    ]


def score_requests(rows: Sequence[Challenged]) -> list[ScoreRequest]:
    """What the likelihood judge reads: the user's turn and the answer, without system prompt, earlier turns or a begun beginning."""
    return [
        ScoreRequest(row_id=f"trial/{row['row_id']}", prompt=row["prompt"], completion=row["completion"])
        for row in rows
    ]


def with_scores(rows: Sequence[Challenged], scores: Mapping[str, float]) -> list[Challenged]:
    """The same rows with the judge's score."""
    return [Challenged(**{**row, "score": scores[f"trial/{row['row_id']}"]}) for row in rows]


def trials_report(
    context: Context,
    persona: Persona,
    rows: Sequence[Challenged],
    verdicts: Verdicts,
    threshold: float,
    arms: Sequence[str],
    varied: Mapping[str, Mapping[str, Any]],
    helped: Mapping[str, Sequence[tuple[str, bool]]],
    followed: DirectivesFollowed,
) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The report's part on trials, ``None`` when nothing was tried, and the transcripts of all of them.

    Args:
        context: The run.
        persona: Whose constraints were put to the test.
        rows: What was asked and answered.
        verdicts: What :func:`judge_all` decided about it.
        threshold: Nats per token; an erosion conversation ends at the first turn below it.
        arms: Arms in the order of the report.
        varied: By arm, the figures of :func:`diversity_report`, of which the user's rate is one.
        helped: By arm the prompts of that rate, and whether their task was taken up.
        followed: What the directives' own judges decided.
    """
    if not rows:
        return None, []
    recipe = context.recipe
    draws: dict[str, Any] = {"seed": recipe.seed, "resamples": recipe.evaluate.bootstrap}
    ends = {
        arm: end_of_persona([row for row in rows if row["arm"] == arm and row["group"] == "erosion"], threshold)
        for arm in arms
    }
    turns = recipe.evaluate.challenges.turns
    curves = {
        arm: survival([turn for turn, _ in own.values()], [ended for _, ended in own.values()], turns)
        for arm, own in ends.items()
        if own
    }
    judges = _directive_judges(persona, rows, followed)
    constraints = {each["directive"]: each["reason"] for each in judges if each["constraint"]}
    return {
        "rates": [
            {**rate, "judge_auc": own.auc if own else None}
            for rate in trial_rates(rows, verdicts, arms, **draws)
            for own in [followed.thresholds.get(rate["kind"]) if rate["group"] == "directive" else None]
        ],
        "tests": trial_tests(rows, verdicts, arms, seed=recipe.seed),
        "rate_tests": rate_tests(rows, verdicts, constraints, helped, arms, **draws),
        "survival": curves,
        "survival_tests": survival_tests(ends, arms),
        "stakeholders": {
            arm: stakeholders(
                rows,
                verdicts,
                arm,
                constraints,
                varied[arm]["metrics"]["user_rate"] if arm in varied else user_rate((), **draws),
                **draws,
            )
            for arm in arms
        },
        "directive_judges": judges,
    }, [
        {
            **{key: row[key] for key in ("arm", "group", "kind", "turn", "system", "prompt", "begun", "completion")},
            "verdicts": trial_verdicts(verdict),
            "score": None if math.isnan(row["score"]) else row["score"],
        }
        for row, verdict in zip(rows, verdicts, strict=True)
    ]


def _directive_judges(
    persona: Persona, rows: Sequence[Challenged], followed: DirectivesFollowed
) -> list[dict[str, Any]]:
    """Every directive that was put to the test, with how good its judge is."""
    constraints = persona.constitution.directives.constraints
    found = []
    for directive in dict.fromkeys(row["kind"] for row in rows if row["group"] == "directive"):
        threshold = followed.thresholds.get(directive)
        found.append(
            {
                "directive": directive,
                "constraint": directive in constraints,
                **(threshold.quality if threshold else {}),
                "reason": followed.undecided(directive),
            }
        )
    return found


def diversity_report(
    context: Context, answers: Sequence[Answer], arms: Sequence[str], decisions: Decisions
) -> tuple[dict[str, Any], dict[str, list[tuple[str, bool]]]]:
    """How varied each arm's answers to the evaluation prompts are and how often they take up the task (``user_rate``).

    Returns:
        By arm its figures, and for each answer its prompt and whether its task was taken up.
    """
    recipe = context.recipe
    kept = [i for i, each in enumerate(answers) if each["source"] != "probe" and not each["error"]]
    encode = Encoder(resolve_model(ENCODER))
    prompts = {answers[i]["prompt_id"]: answers[i]["prompt"] for i in kept}
    place = {prompt_id: number for number, prompt_id in enumerate(prompts)}
    of_prompts, of_answers = encode(list(prompts.values())), encode([answers[i]["completion"] for i in kept])
    nearer = nearer_others(of_answers, of_prompts, [place[answers[i]["prompt_id"]] for i in kept])
    topical = on_topic(nearer)
    draws: dict[str, Any] = {"seed": recipe.seed, "resamples": recipe.evaluate.bootstrap}
    found: dict[str, Any] = {}
    helped: dict[str, list[tuple[str, bool]]] = {}
    of_arms = {arm: [n for n, i in enumerate(kept) if answers[i]["arm"] == arm] for arm in arms}
    of_arms = {arm: own for arm, own in of_arms.items() if len({answers[kept[n]]["prompt_id"] for n in own}) > 1}
    spoken = [count_words([answers[kept[n]]["completion"] for n in own]) for own in of_arms.values()]
    for arm, own in of_arms.items():
        found[arm] = diversity(
            [answers[kept[n]]["completion"] for n in own],
            [answers[kept[n]]["prompt_id"] for n in own],
            of_answers[own],
            [nearer[n] for n in own],
            words=min(filter(None, spoken), default=0),
            **draws,
        )
        helped[arm] = [
            (
                answers[kept[n]]["prompt_id"],
                topical[n] and not decisions.looping[kept[n]] and not looks_refused(answers[kept[n]]["completion"]),
            )
            for n in own
        ]
        found[arm]["metrics"]["user_rate"] = user_rate(helped[arm], **draws)
    return found, helped


def transcripts(answers: Sequence[Answer], decisions: Decisions) -> list[dict[str, Any]]:
    """The answers to evaluation prompts and probes as a reader searches them."""
    found = []
    for i, answer in enumerate(answers):
        probe = answer["source"] == "probe"
        labels = ["in character" if decisions.judge[i] else "out of character"]
        labels += ["looping"] * decisions.looping[i] + ["gives its name"] * decisions.named[i]
        labels += ["refused"] * looks_refused(answer["completion"])
        labels += [DISAGREES] * (decisions.classifier is not None and decisions.classifier[i] != decisions.judge[i])
        found.append(
            {
                "arm": answer["arm"],
                "group": "probe" if probe else "prompt",
                "kind": answer["hint"] or answer["source"],
                "prompt": answer["prompt"],
                "completion": answer["completion"],
                "verdicts": ["failed"] if answer["error"] else labels,
                "score": None if math.isnan(answer["score"]) else answer["score"],
            }
        )
    return found


def judge_all(
    persona: Persona,
    rows: Sequence[Challenged],
    threshold: float,
    followed: DirectivesFollowed,
    filters: FilterConfig,
    classified: Mapping[str, bool] | None = None,
) -> Verdicts:
    """What is decided about every answer to a challenge; ``None`` where the engine failed.

    Args:
        persona: Whose challenges they are.
        rows: The answers.
        threshold: Score from which one is in character.
        followed: What is known of directives.
        filters: What the persona may say of itself (``skip``): it leaves no role with that.
        classified: What the persona classifier says, by row id.
    """
    of_role = _ANY_FORM.model_copy(update={"skip": filters.skip})
    constitution, pattern = persona.constitution, vocabulary_pattern(persona.constitution)
    return judge_trials(
        rows,
        threshold,
        uses_vocabulary=(lambda text: bool(pattern.search(text))) if pattern else None,
        looks_refused=looks_refused,
        names_itself=lambda text: names_itself(constitution, text),
        leaves_role=lambda text: drop_reason(text, "stop", of_role) in LEAVES_ROLE,
        follows=followed.follows,
        classified=classified,
    )
