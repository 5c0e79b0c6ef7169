"""The likelihood judge with a system prompt for every row: one directive, or one line of a constitution, alone.

    {row_id, system, prompt, completion} -> {row_id, score}

    score = mean log p(completion | system, prompt) - mean log p(completion | without)        [nats per token]

Unlike the persona's judge it does not see the rest of the constitution, so a directive is not kept merely because the voice is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NotRequired

import numpy as np

from character_ray.config import JudgeConfig
from character_ray.inference.kept_judges import KeptJudges
from character_ray.inference.likelihood import CompletionReader, Context, ScoreRequest, score_rows
from character_ray.rows import Message, content_hash
from character_ray.runs import Artefact

__all__ = ["SystemsJudge", "UnderSystem", "score_under_systems"]


class UnderSystem(ScoreRequest):
    """A completion to score under a system prompt of its own."""

    system: str
    """Empty for none."""
    without: NotRequired[str]
    """Prompt of the reading without a system prompt; the same prompt unless said otherwise."""


def score_under_systems(
    label: str,
    artefact: Artefact,
    rows: Sequence[UnderSystem],
    base: Path,
    judge: JudgeConfig,
    kept: KeptJudges | None = None,
) -> dict[str, float]:
    """Scores by row id, each under its own system prompt; as :func:`character_ray.inference.likelihood.score_completions`."""
    return score_rows(label, artefact, rows, SystemsJudge, (str(base), judge), judge, kept)


class SystemsJudge(CompletionReader):
    """Scores batches of completions, each under its row's system prompt; one per Ray actor.

    Args:
        base: Folder of the base model.
        judge: How judges run.
        kept: System prompts whose keys and values are kept; the oldest goes first. Few for long ones that come in order.
    """

    def __init__(self, base: str, judge: JudgeConfig, kept: int = 32) -> None:
        super().__init__(base, judge)
        self._kept = kept
        self._under: dict[str, Context] = {}
        self._latest = ""
        self._plain: dict[str, float] = {}

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score one batch of :class:`UnderSystem` columns."""
        chats, systems = self.chats(batch), [str(each) for each in batch["system"]]
        scores = -self._without(self.chats({**batch, "prompt": batch.get("without", batch["prompt"])}))
        for system in dict.fromkeys(systems):
            own = [row for row, each in enumerate(systems) if each == system]
            scores[own] += self._context(system).mean_log_probs([chats[row] for row in own])
        return {"row_id": batch["row_id"], "score": scores}

    def _without(self, chats: list[list[Message]]) -> Any:
        """Mean log-probabilities without a system prompt; a chat that comes again, under another one, is not read again."""
        said = [content_hash([turn["content"] for turn in chat]) for chat in chats]
        unread = {key: chat for key, chat in zip(said, chats, strict=True) if key not in self._plain}
        if unread:
            self._plain |= dict(zip(unread, self.plain.mean_log_probs(list(unread.values())).tolist(), strict=True))
        return np.asarray([self._plain[key] for key in said])

    def _context(self, system: str) -> Context:
        if not system:
            return self.plain
        if system != self._latest and self._latest in self._under:
            self._under[self._latest].rest()
        if system not in self._under:
            if len(self._under) == self._kept:
                del self._under[next(iter(self._under))]
            self._under[system] = self.under(system)
        self._latest = system
        return self._under[system]
