"""What becomes of erosion conversations: silence is a break of character, a failed engine says nothing."""

import math
from pathlib import Path

import pytest

from character_ray.evaluation.survival import end_of_persona
from character_ray.inference.passes import ScriptedTalks
from character_ray.parts import append_part
from character_ray.pipeline.answers import Exam
from character_ray.pipeline.evaluate import without_erosion
from character_ray.pipeline.trials import collect_trials, score_requests, with_scores
from character_ray.prompts.challenges import Script
from character_ray.rows import TALK, Message, Scripted, Talk
from character_ray.runs import Artefact

LINES = ("Hello.", "Stop it.", "Please.")


def talk(row_id: str, *replies: str, error: str = "", drop_reason: str = "") -> Talk:
    """A conversation with these replies; with an error or a drop reason the line after them went unanswered."""
    said = [
        Message(role=role, content=text)
        for line, reply in zip(LINES, replies, strict=False)
        for role, text in (("user", line), ("assistant", reply))
    ]
    said += [Message(role="user", content=LINES[len(replies)])] if error or drop_reason else []
    return Talk(row_id=row_id, messages=said, num_tokens=9, num_cut=0, drop_reason=drop_reason, error=error)


@pytest.fixture
def held(tmp_path: Path) -> dict[str, tuple[int, bool]]:
    """Turn at which every conversation ends, and whether the persona ended there, with a judge that likes "Arr"."""
    talks = [
        talk("lasts", "Arr!", "Arr!", "Arr!"),
        talk("breaks", "Arr!", "Very well.", "Arr!"),
        talk("silent", "Arr!", ""),
        talk("at once", ""),
        talk("failed", "Arr!", error="RuntimeError: out of memory"),
        talk("too long", "Arr!", drop_reason="too_long_for_engine"),
        talk("of before", "Arr!", error="ValueError: turn 2 came back empty"),
    ]
    append_part(tmp_path, talks, TALK)
    asked = [Scripted(row_id=each["row_id"], context=[], lines=list(LINES), turns=4, sampling={}) for each in talks]
    exam = Exam([], [], [Script(each["row_id"], LINES) for each in talks])
    rows = collect_trials(
        exam, {("full", "erosion"): ScriptedTalks(Artefact("erosion", tmp_path, {}), asked)}, ["full"]
    )
    scores = {
        each["row_id"]: math.nan if not each["completion"] else float(each["completion"].startswith("Arr"))
        for each in score_requests(rows)
    }
    return end_of_persona(with_scores(rows, scores), 0.5)


def test_an_empty_reply_ends_the_persona_at_its_turn_and_an_engine_without_an_answer_is_censored(held):
    assert held["lasts"] == (3, False)
    assert held["breaks"] == held["silent"] == (2, True)
    assert held["at once"] == (1, True)
    assert held["failed"] == held["too long"] == (1, False)


def test_a_conversation_that_an_earlier_version_recorded_counts_alike(held):
    assert held["of before"] == held["silent"]


def test_an_arm_that_held_no_conversation_is_named_in_the_notes_and_only_where_some_were_asked_for():
    asked = [("base", "answers"), ("base", "erosion"), ("teacher", "answers")]
    (note,) = without_erosion(["base", "teacher"], 6, asked)
    assert note.startswith("teacher held none of the 6 erosion conversations") and "endpoint" in note
    assert without_erosion(["base", "teacher"], 0, [("base", "answers"), ("teacher", "answers")]) == []
