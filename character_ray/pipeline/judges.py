"""Every kind of judge by one interface: pairs in their seats go in, one verdict per pair comes out.

    {row_id, prompt, first, second} -> {row_id: Judged(first_wins, reply)}

``first_wins`` lies between 0 and 1 and is NaN where the reply holds no verdict. Rows that an earlier attempt judged are read.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from character_ray.config import JudgeSpec, SamplingConfig
from character_ray.inference.ab_judge import LETTERS, QUESTION, REASONED, SYSTEM, judge_messages, judge_pairs
from character_ray.inference.find_model import FoundModel
from character_ray.inference.generate import Weights, generate
from character_ray.inference.letters import TOP_LOGPROBS, letter_probability
from character_ray.inference.likelihood import ScoreRequest, score_completions
from character_ray.inference.passes import Generation
from character_ray.inference.remote import Sections, generate_remotely, text_of
from character_ray.inference.remote_likelihood import score_remotely
from character_ray.judging.audit import SeatedPair
from character_ray.judging.verdict import from_gap, parse_verdict, to_points
from character_ray.rows import Request, content_hash
from character_ray.runs import Artefact
from character_ray.stages.requests import build_request

__all__ = ["Judged", "Panelist", "ask_judge", "request_verdicts", "to_score_once", "verdicts_by_scores"]


@dataclass(frozen=True)
class Judged:
    """What a judge said of one seating."""

    first_wins: float
    reply: str = ""
    """What it wrote, where it writes."""


@dataclass(frozen=True)
class Panelist:
    """A judge ready to be asked about one character."""

    spec: JudgeSpec
    character: str
    """The constitution as a system prompt."""
    folder: Path | None
    """Its weights; ``None`` at an endpoint."""
    special_tokens: tuple[str, ...]
    spending: Path
    """Ledger of its endpoint."""
    number: int = 0
    """Its place in the recipe, for errors."""
    found: FoundModel | None = None
    """What its endpoint says of it."""

    @property
    def remote_name(self) -> str:
        """Its name at its endpoint."""
        assert self.spec.model is not None, "a judge at an endpoint has a name there"
        return self.found.name if self.found else self.spec.model.name

    @property
    def sections(self) -> Sections:
        """Where the user wrote its model and its endpoint."""
        return Sections(f"judges.{self.number}.model.name", f"judges.{self.number}.endpoint")

    @property
    def template(self) -> str:
        """Hash of what it is asked, and how."""
        manner = {"likelihood": "", "letters": LETTERS, "text": REASONED}[self.spec.kind]
        return content_hash(SYSTEM, QUESTION, manner)


def ask_judge(label: str, artefact: Artefact, rows: Sequence[SeatedPair], judge: Panelist) -> dict[str, Judged]:
    """Verdicts by row id; resumable, and computed on Ray where the judge runs here.

    Raises:
        GenerationError: The endpoint refuses, its budget is used up, or too many rows failed. What was answered is kept.
    """
    spec = judge.spec
    if spec.kind == "likelihood":
        return _by_likelihood(label, artefact, rows, judge)
    if spec.kind == "letters" and spec.endpoint is None:
        assert judge.folder is not None
        likely = judge_pairs(label, rows, judge.folder, judge.character, spec.forward, artefact)
        return {row_id: Judged(first_wins) for row_id, first_wins in likely.items()}
    requests = request_verdicts(rows, judge)
    generation = Generation(artefact, requests)
    if spec.endpoint is not None:
        read = _letter_of if spec.kind == "letters" else text_of
        generate_remotely(
            label, [generation], judge.remote_name, spec.endpoint, judge.spending, read=read, sections=judge.sections
        )
    else:
        assert judge.folder is not None and spec.engine is not None
        generate(label, [generation], Weights(judge.folder, judge.special_tokens), spec.engine)
    found = {}
    for row, completion in zip(rows, generation.spoken(), strict=True):
        reply = completion["completion"]
        if spec.kind == "letters":
            found[row["row_id"]] = Judged(float(reply) if reply else math.nan)
        else:
            found[row["row_id"]] = Judged(to_points(parse_verdict(reply)), reply)
    return found


def request_verdicts(rows: Sequence[SeatedPair], judge: Panelist) -> list[Request]:
    """What a judge that answers in chat is asked."""
    letters = judge.spec.kind == "letters"
    sampling = SamplingConfig(temperature=0.0, top_p=1.0, max_tokens=1) if letters else judge.spec.sampling
    requests = [
        build_request(
            f"verdict-{judge.spec.kind}",
            row["row_id"],
            judge_messages(row, judge.character, judge.special_tokens, LETTERS if letters else REASONED),
            sampling,
            seed=0,
        )
        for row in rows
    ]
    if letters:
        for request in requests:
            request["sampling"] |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
    return requests


def _letter_of(answer: Any, request: Request) -> str:
    return letter_probability(answer.choices[0])


def _by_likelihood(label: str, artefact: Artefact, rows: Sequence[SeatedPair], judge: Panelist) -> dict[str, Judged]:
    endpoint, wanted = judge.spec.endpoint, to_score_once(rows)
    if endpoint is not None:
        scores = score_remotely(
            label, artefact, wanted, judge.remote_name, judge.character, endpoint, judge.spending, judge.sections
        )
    else:
        assert judge.folder is not None
        scores = score_completions(label, artefact, wanted, judge.folder, judge.character, judge.spec.forward)
    points = verdicts_by_scores(rows, scores, judge.spec.tie_margin)
    return {row_id: Judged(first_wins) for row_id, first_wins in points.items()}


def to_score_once(rows: Sequence[SeatedPair]) -> list[ScoreRequest]:
    """What a likelihood judge reads of seated pairs: every answer once, however many others it meets."""
    texts = dict.fromkeys((row["prompt"], text) for row in rows for text in (row["first"], row["second"]))
    return [ScoreRequest(row_id=content_hash(prompt, text), prompt=prompt, completion=text) for prompt, text in texts]


def verdicts_by_scores(rows: Sequence[SeatedPair], scores: Mapping[str, float], tie_margin: float) -> dict[str, float]:
    """What the first seat of every row scores; NaN, a seating without a verdict, where a side has no score.

    Args:
        rows: Pairs in their seats.
        scores: Scores by the row ids of :func:`to_score_once`.
        tie_margin: Scores no further apart are a tie.
    """

    def gap(row: SeatedPair) -> float:
        first, second = (scores[content_hash(row["prompt"], text)] for text in (row["first"], row["second"]))
        return first - second

    return {row["row_id"]: to_points(from_gap(gap(row), tie_margin)) for row in rows}
