"""The likelihood judge of single directives: how much likelier an answer is under one directive alone than without it.

    {row_id, directive, prompt, completion} -> {row_id, score}

Unlike the persona's judge it does not see the rest of the constitution, so a directive is not kept merely because the voice is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from character_ray.config import JudgeConfig
from character_ray.inference.likelihood import Context, LikelihoodJudge, ScoreRequest, score_rows
from character_ray.rows import Message
from character_ray.runs import Artefact

__all__ = ["RULE", "DirectiveJudge", "DirectiveRequest", "score_directives"]

RULE = "Follow this rule in everything you say: {directive}"
"""The system prompt of a directive's judge."""


class DirectiveRequest(ScoreRequest):
    """A completion to score under one directive."""

    directive: str


def score_directives(
    label: str, artefact: Artefact, rows: Sequence[DirectiveRequest], base: Path, judge: JudgeConfig
) -> dict[str, float]:
    """Scores by row id, each under its own directive; as :func:`character_ray.inference.likelihood.score_completions`."""
    return score_rows(label, artefact, rows, DirectiveJudge, (str(base), judge), judge)


class DirectiveJudge(LikelihoodJudge):
    """Scores batches of completions, each under its row's directive; one per Ray actor."""

    def __init__(self, base: str, judge: JudgeConfig) -> None:
        super().__init__(base, "", judge)
        self._rules: dict[str, Context] = {}

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score one batch of :class:`DirectiveRequest` columns."""
        chats = self.chats(batch)
        scores = -np.asarray(self._contexts[-1].mean_log_probs(chats))
        directives = np.asarray([str(each) for each in batch["directive"]])
        for directive in dict.fromkeys(directives.tolist()):
            own = np.flatnonzero(directives == directive)
            scores[own] += self._rule(directive).mean_log_probs([chats[row] for row in own])
        return {"row_id": batch["row_id"], "score": scores}

    def _rule(self, directive: str) -> Context:
        if directive not in self._rules:
            self._rules[directive] = Context(self, [Message(role="system", content=RULE.format(directive=directive))])
        return self._rules[directive]
