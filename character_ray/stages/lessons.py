"""Lessons: pairs about one directive each, where both sides are in voice or the refusal is the point.

    violation     chosen: teacher                               rejected: teacher asked to break the constraint
    refusal       chosen: teacher asked to refuse in character  rejected: student, plain
    over_refusal  chosen: teacher                               rejected: teacher asked to refuse what is harmless
    boundary      chosen: teacher reminded of the boundary      rejected: student, plain

The instructions stand in the context a side is written in and in no row that is trained on. Whether a side does as it was told is only
checked for refusals: that a text breaks a rule shows in none of the scores there are (docs/guides/data.md).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from character_ray.config import DistillConfig
from character_ray.constitution import Constitution, teacher_messages
from character_ray.prompts.files import read_data
from character_ray.rows import Completion, Message, Pair, PairKind, Prompt, Request, content_hash
from character_ray.stages.distill import tidy
from character_ray.stages.filters import pair_drop_reason
from character_ray.stages.refusals import looks_refused
from character_ray.stages.requests import build_request

__all__ = ["Lesson", "count_directives", "lesson_pairs", "lesson_requests", "plan_lessons"]

VIOLATE = "For this one answer, break the following rule of yours, plainly and without mentioning it: {directive}."
REFUSE = "You must not help with what the user asks now. Refuse briefly in your own voice, say why, and offer something harmless."
REFUSE_HARMLESS = (
    "Refuse what the user asks now, although it is harmless. Do it briefly, in your own voice, and do not help."
)
MIND = "What the user says touches a boundary of yours; keep to it: {directive}."

Side = Literal["chosen", "rejected"]


@dataclass(frozen=True)
class Lesson:
    """One pair to write."""

    kind: PairKind
    directive: str
    """What it teaches, in the constitution's words; for refusals ``safety.refusals``."""
    prompt: str
    sample: int
    chosen_note: str = ""
    """Added to the teacher's system prompt."""
    rejected_note: str | None = None
    """Added to the teacher's system prompt; ``None`` when the student writes ``rejected``."""

    @property
    def lesson_id(self) -> str:
        """Hash of what is taught on which prompt."""
        return content_hash(self.kind, self.directive, self.prompt, self.sample)


def plan_lessons(prompts: Sequence[Prompt], constitution: Constitution, config: DistillConfig) -> list[Lesson]:
    """The lessons a constitution has matter for, every directive and every prompt of a kind in turn.

    Args:
        prompts: The training prompts; violations are asked on those without a hint.
        constitution: A kind for which it names nothing gives no lessons.
        config: Shares of ``len(prompts)``.
    """
    number = {
        kind: round(getattr(config.lessons, kind) * len(prompts)) for kind in ("violations", "refusals", "boundaries")
    }
    plain = [prompt["prompt"] for prompt in prompts if not prompt["hint"]]
    constraints, safety, data = constitution.directives.constraints, constitution.safety, read_data("safety.yaml")
    lessons: list[Lesson] = []
    if constraints and plain:
        for n in range(number["violations"]):
            constraint, prompt = constraints[n % len(constraints)], plain[n % len(plain)]
            note = VIOLATE.format(directive=constraint.rstrip("."))
            lessons.append(Lesson("violation", constraint, prompt, n // len(plain), "", note))
    if safety.refusals:
        for n in range(number["refusals"]):
            pair, sample = n // 2 % len(data["train"]), n // 2 // len(data["train"])
            harmful, harmless = data["train"][pair]
            if n % 2 == 0:
                lessons.append(Lesson("refusal", "safety.refusals", harmful, sample, REFUSE))
            else:
                lessons.append(Lesson("over_refusal", "safety.refusals", harmless, sample, "", REFUSE_HARMLESS))
    for n in range(number["boundaries"] if safety.boundaries else 0):
        turn, which = divmod(n, len(safety.boundaries))
        boundary, forms = safety.boundaries[which], data["boundaries"]
        text = forms[turn % len(forms)].format(topic=boundary.partition(":")[0].strip())
        note = MIND.format(directive=boundary.rstrip("."))
        lessons.append(Lesson("boundary", boundary, text, turn // len(forms), note))
    return lessons


def lesson_requests(
    lessons: Sequence[Lesson], constitution: Constitution, config: DistillConfig, seed: int
) -> tuple[list[Request], list[Request]]:
    """What the teacher is asked, and what the student is asked; requests of equal beginnings side by side."""
    teacher = [_ask(lesson, "chosen", constitution, config, seed) for lesson in lessons]
    other = [_ask(lesson, "rejected", constitution, config, seed) for lesson in lessons]
    by_teacher = [lesson.rejected_note is not None for lesson in lessons]
    teacher += [request for request, own in zip(other, by_teacher, strict=True) if own]
    student = [request for request, own in zip(other, by_teacher, strict=True) if not own]
    return sorted(teacher, key=lambda request: request["messages"][0]["content"]), student


def lesson_pairs(
    lessons: Sequence[Lesson],
    completions: Sequence[Completion],
    scores: Mapping[str, float],
    config: DistillConfig,
) -> list[Pair]:
    """One pair per lesson; one that does not teach what it should, or teaches what an earlier one does, says so in ``drop_reason``.

    Args:
        lessons: As planned.
        completions: All sides; ``prompt_id`` is the lesson's id and the side.
        scores: Likelihood-ratio score by row id, in nats per token.
        config: Filters. ``min_contrast`` counts where ``rejected`` is plain: two sides in the same voice need not differ in it.
    """
    by_side = {completion["prompt_id"]: completion for completion in completions}
    pairs, seen = [], set()
    for lesson in lessons:
        pair = _to_pair(lesson, by_side[_key(lesson, "chosen")], by_side[_key(lesson, "rejected")], scores, config)
        # Several samples of one prompt may be equal, of a teacher at a low temperature most are.
        texts = (lesson.prompt, pair["chosen"][0]["content"], pair["rejected"][0]["content"])
        if not pair["drop_reason"] and texts in seen:
            pair["drop_reason"] = "duplicate"
        seen.add(texts)
        pairs.append(pair)
    return pairs


def count_directives(pairs: Sequence[Pair]) -> dict[str, int]:
    """Kept lessons by directive."""
    return dict(Counter(pair["directive"] for pair in pairs if pair["directive"] and not pair["drop_reason"]))


def _key(lesson: Lesson, side: Side) -> str:
    return f"{lesson.lesson_id}-{side}"


def _ask(lesson: Lesson, side: Side, constitution: Constitution, config: DistillConfig, seed: int) -> Request:
    note = lesson.chosen_note if side == "chosen" else lesson.rejected_note
    if note is None:
        messages, sampling = [Message(role="user", content=lesson.prompt)], config.student
    else:
        messages, sampling = teacher_messages(constitution, lesson.prompt), config.teacher
        if note:
            messages[0] = Message(role="system", content=f"{messages[0]['content']}\n\n{note}")
    kind = f"{lesson.kind}/{side}"
    return build_request(kind, _key(lesson, side), messages, sampling, sample=lesson.sample, seed=seed)


def _to_pair(
    lesson: Lesson, chosen: Completion, rejected: Completion, scores: Mapping[str, float], config: DistillConfig
) -> Pair:
    good, bad = tidy(chosen, config.filters), tidy(rejected, config.filters)
    good_score, bad_score = scores[chosen["row_id"]], scores[rejected["row_id"]]
    filters = config.filters
    if lesson.rejected_note is not None:
        filters = filters.of_any_contrast()
    reason = "engine_error" if chosen["error"] or rejected["error"] else ""
    reason = reason or pair_drop_reason(
        good, bad, chosen["finish_reason"], rejected["finish_reason"], good_score - bad_score, filters
    )
    return Pair(
        row_id=content_hash(chosen["row_id"], rejected["row_id"]),
        prompt_id=lesson.lesson_id,
        hint="",
        kind=lesson.kind,
        directive=lesson.directive,
        prompt=[Message(role="user", content=lesson.prompt)],
        chosen=[Message(role="assistant", content=good)],
        rejected=[Message(role="assistant", content=bad)],
        chosen_score=good_score,
        rejected_score=bad_score,
        drop_reason=reason or _misses_its_point(lesson, good, bad),
    )


def _misses_its_point(lesson: Lesson, chosen: str, rejected: str) -> str:
    if lesson.kind == "refusal" and not looks_refused(chosen):
        return "not_refused"
    if lesson.kind == "over_refusal" and not looks_refused(rejected):
        return "not_refused_rejected"
    if lesson.kind == "over_refusal" and looks_refused(chosen):
        return "refused"
    return ""
