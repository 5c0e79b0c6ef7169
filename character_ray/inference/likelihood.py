"""The likelihood judge: how much likelier a completion is under the constitution than without it.

    {row_id, prompt, completion} -> {row_id, score}

    score = mean log p(completion | constitution, prompt) - mean log p(completion | prompt)        [nats per token]

Both means are over the completion's tokens, end-of-turn included, under the untrained base model. The system prompt is the same
for every row, so its keys and values are computed once and kept; a prompt is read once for all its completions in a batch; only
completion positions meet the output layer. (vLLM's ``prompt_logprobs`` skips the prefix cache and would read the constitution again
for every row.)
"""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypedDict

import pyarrow as pa

from character_ray.chat_safety import control_tokens, neutralize
from character_ray.chat_template import chat_ids
from character_ray.config import JUDGED_POSITIONS, JudgeConfig
from character_ray.inference.judge_actors import judged_rows, load_judge_model
from character_ray.inference.kept_judges import KeptJudges
from character_ray.inference.kept_prefix import KeptPrefix, shared_beginning
from character_ray.log import stage_progress
from character_ray.parts import append_part, read_parts
from character_ray.prefix_packing import Tree, takes_a_mask
from character_ray.rows import Message
from character_ray.runs import Artefact

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "SCORE",
    "CompletionReader",
    "Context",
    "LikelihoodJudge",
    "ScoreRequest",
    "finish_scores",
    "score_completions",
    "score_rows",
    "scored_and_pending",
]

SCORE = pa.schema({"row_id": pa.string(), "score": pa.float64()})


class ScoreRequest(TypedDict):
    """A completion to score."""

    row_id: str
    prompt: str
    completion: str


def score_completions(
    label: str,
    artefact: Artefact,
    rows: Sequence[ScoreRequest],
    base: Path,
    system_prompt: str,
    judge: JudgeConfig,
    kept: KeptJudges | None = None,
) -> dict[str, float]:
    """Scores by row id, computed on Ray; rows scored by an earlier attempt are read, empty completions score NaN."""
    return score_rows(label, artefact, rows, LikelihoodJudge, (str(base), system_prompt, judge), judge, kept)


def score_rows(
    label: str,
    artefact: Artefact,
    rows: Sequence[ScoreRequest],
    actor: Callable[..., Any],
    arguments: tuple[Any, ...],
    judge: JudgeConfig,
    kept: KeptJudges | None = None,
) -> dict[str, float]:
    """The same with any judge that makes ``{row_id, score}`` of a batch of requests, built with ``arguments``."""
    started = monotonic()
    scores, pending = scored_and_pending(artefact, rows)
    if pending:
        with stage_progress(label, len(pending)) as progress:
            for scored in judged_rows(actor, arguments, pending, judge, kept):
                append_part(artefact.folder, scored, SCORE)
                scores |= {row["row_id"]: row["score"] for row in scored}
                progress.advance(len(scored))
    finish_scores(artefact, rows, monotonic() - started)
    return {row["row_id"]: scores.get(row["row_id"], math.nan) for row in rows}


def scored_and_pending(artefact: Artefact, rows: Sequence[ScoreRequest]) -> tuple[dict[str, float], list[ScoreRequest]]:
    """Scores of an earlier attempt by row id, and what is left to score; empty completions are not."""
    scores = {row["row_id"]: row["score"] for row in read_parts(artefact.folder)}
    wanted = {row["row_id"]: row for row in rows if row["completion"].strip() and row["row_id"] not in scores}
    return scores, sorted(wanted.values(), key=_together)


def _together(row: ScoreRequest) -> tuple[str, int, str, int]:
    # Rows under one system prompt side by side, so that a batch goes on from few prefixes; among them completions of one prompt, so
    # that it is read once, and prompts of one length, so that little is padding.
    return str(row.get("system", "")), len(row["prompt"]), row["prompt"], len(row["completion"])


def finish_scores(artefact: Artefact, rows: Sequence[ScoreRequest], wall_s: float) -> None:
    """Say that all rows are scored, unless an earlier attempt did."""
    if not artefact.is_done:
        scored = {row["row_id"] for row in rows if row["completion"].strip()}
        artefact.finish({"wall_s": wall_s, "rows_in": len(rows), "rows_out": len(scored)})


class CompletionReader:
    """Reads completions under the untrained base model, without a system prompt; a judge adds what it reads them under."""

    def __init__(self, base: str, judge: JudgeConfig) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._special = control_tokens(Path(base))
        self._model = load_judge_model(Path(base), judge)
        self._shares = takes_a_mask(self._model)
        self.plain = Context(self, [])

    def under(self, system_prompt: str) -> "Context":
        """The same reading with a system prompt before it."""
        return Context(self, [Message(role="system", content=system_prompt)])

    def chats(self, batch: dict[str, Any]) -> list[list[Message]]:
        """Question and answer of each row, their control tokens neutralised."""
        return [
            [
                Message(role="user", content=neutralize(str(prompt), self._special)),
                Message(role="assistant", content=neutralize(str(completion), self._special)),
            ]
            for prompt, completion in zip(batch["prompt"], batch["completion"], strict=True)
        ]

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The base model's tokenizer."""
        return self._tokenizer

    @property
    def model(self) -> "PreTrainedModel":
        """The base model."""
        return self._model

    @property
    def shares_prompts(self) -> bool:
        """Whether a prompt can be read once for several completions."""
        return self._shares


class LikelihoodJudge(CompletionReader):
    """Scores batches of completions; one per Ray actor."""

    def __init__(self, base: str, system_prompt: str, judge: JudgeConfig) -> None:
        super().__init__(base, judge)
        self._contexts = [self.under(system_prompt), self.plain]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score one batch of :class:`ScoreRequest` columns."""
        chats = self.chats(batch)
        with_constitution, without = (context.mean_log_probs(chats) for context in self._contexts)
        return {"row_id": batch["row_id"], "score": with_constitution - without}


class Context:
    """A fixed beginning of the chat whose keys and values are computed once."""

    def __init__(self, judge: CompletionReader, system: list[Message]) -> None:
        self._judge, self._system = judge, system
        openings = [chat_ids(judge.tokenizer, [*system, Message(role="user", content=text)]) for text in ("a", "b")]
        prefix = openings[0][: shared_beginning(openings)]
        self._prefix = KeptPrefix(judge.model, prefix)

    def mean_log_probs(self, chats: list[list[Message]]) -> "Any":
        """Mean log-probability per completion token of each chat; shape ``(B,)``, nats."""
        import torch

        judge = self._judge
        trees, leaves = self._group(chats)
        hidden_ND, packed = self._prefix.hidden(trees, together=judge.shares_prompts)
        at = [packed.scored[tree][leaf] for tree, leaf in leaves]
        targets = [trees[tree].leaves[leaf] for tree, leaf in leaves]
        lengths = [len(positions) for positions in at]
        at_N, target_N = (torch.tensor(list(itertools.chain(*each)), device=hidden_ND.device) for each in (at, targets))
        with torch.inference_mode():
            head = judge.model.get_output_embeddings()
            log_probs_N = torch.cat(
                [
                    head(hidden_ND[positions]).float().log_softmax(-1).gather(-1, target[:, None])[:, 0]
                    for positions, target in zip(
                        at_N.split(JUDGED_POSITIONS), target_N.split(JUDGED_POSITIONS), strict=True
                    )
                ]
            )
            return torch.stack([each.mean() for each in log_probs_N.double().cpu().split(lengths)]).numpy()

    def rest(self) -> None:
        """Give back the memory that the last batch took."""
        self._prefix.rest()

    def _group(self, chats: list[list[Message]]) -> tuple[list[Tree], list[tuple[int, int]]]:
        """The completions of each prompt as a tree, and for each chat the numbers of its tree and leaf."""
        judge, prefix = self._judge, len(self._prefix.ids)
        trees: dict[Any, Tree] = {}
        openings: dict[str, list[int]] = {}
        found = []
        for row, chat in enumerate(chats):
            ids = chat_ids(judge.tokenizer, [*self._system, *chat])
            question = chat[0]["content"]
            if question not in openings:
                openings[question] = chat_ids(judge.tokenizer, [*self._system, chat[0]], open_turn=True)
            opened = openings[question]
            assert ids[: len(opened)] == opened, (
                "the chat template renders an open turn differently from a finished one"
            )
            key = tuple(opened) if judge.shares_prompts else row
            tree = trees.setdefault(key, Tree(opened[prefix:], []))
            found.append((key, len(tree.leaves)))
            tree.leaves.append(ids[len(opened) :])
        numbers = {key: number for number, key in enumerate(trees)}
        return list(trees.values()), [(numbers[key], leaf) for key, leaf in found]
