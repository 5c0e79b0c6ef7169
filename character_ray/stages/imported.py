"""Rows that were generated elsewhere, in the places of ours, and why one of them must not be trained on.

    pairs         -> prompts, completions of teacher (chosen) and student (rejected) -> scores -> pairs {..., scores, drop_reason}
    conversations -> scores                                                          -> conversations {..., score, drop_reason}

Every pair is one, where a teacher's samples of a prompt here compete to become ``chosen``.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Literal

from character_ray.config import FilterConfig
from character_ray.language import language_of
from character_ray.rows import Completion, Conversation, Pair, Prompt, content_hash
from character_ray.stages.filters import drop_reason, pair_drop_reason, said_before

__all__ = ["Side", "completions_of", "filter_conversations", "filter_pairs", "prompts_of", "without_system"]

Side = Literal["chosen", "rejected"]


def prompts_of(pairs: Sequence[Pair]) -> list[Prompt]:
    """The prompts of pairs, each once, in their order."""
    texts = {pair["prompt_id"]: pair["prompt"][-1]["content"].strip() for pair in reversed(pairs)}
    return [
        Prompt(
            prompt_id=key,
            prompt=text,
            source="own",
            hint="",
            audience="",
            scenario="",
            objective="",
            constraint="",
            language=language_of(text),
            directive="",
        )
        for key, text in reversed(texts.items())
    ]


def completions_of(pairs: Sequence[Pair], side: Side) -> list[Completion]:
    """One side of the pairs as completions, in their order; how many tokens they had is not known."""
    samples: Counter[str] = Counter()
    rows = []
    for pair in pairs:
        rows.append(
            Completion(
                row_id=_side_id(pair, side),
                prompt_id=pair["prompt_id"],
                sample=samples[pair["prompt_id"]],
                completion=pair[side][-1]["content"],
                num_tokens=0,
                finish_reason="stop",
                error="",
            )
        )
        samples[pair["prompt_id"]] += 1
    return rows


def filter_pairs(pairs: Sequence[Pair], scores: Mapping[str, float], filters: FilterConfig) -> list[Pair]:
    """Every pair with its scores and the reason that drops it, if any; of equal ones only the first is kept.

    Args:
        pairs: In the order of the file.
        scores: Likelihood ratio of the completions of :func:`completions_of` by row id, in nats per token.
        filters: What is dropped.
    """
    rows, seen = [], set()
    for pair in pairs:
        chosen_score, rejected_score = (scores[_side_id(pair, side)] for side in ("chosen", "rejected"))
        chosen, rejected = (turns[-1]["content"] for turns in (pair["chosen"], pair["rejected"]))
        contrast = chosen_score - rejected_score
        reason = pair["drop_reason"] or pair_drop_reason(chosen, rejected, "stop", "stop", contrast, filters)
        key = (pair["prompt_id"], chosen, rejected)
        if not reason and key in seen:
            reason = "duplicate"
        seen.add(key)
        rows.append(
            Pair(
                **{
                    **pair,
                    "chosen_score": chosen_score,
                    "rejected_score": rejected_score,
                    "drop_reason": reason,
                }
            )
        )
    return rows


def filter_conversations(
    conversations: Sequence[Conversation],
    scores: Mapping[str, float],
    filters: FilterConfig,
    near_held_out: Set[str] = frozenset(),
) -> list[Conversation]:
    """Every conversation with its score and the reason that drops it, if any; of equal ones only the first is kept.

    Args:
        conversations: In the order of the file.
        scores: Likelihood ratio of the last turn by row id, in nats per token.
        filters: What is dropped.
        near_held_out: Prompts that the evaluation asks, too.
    """
    rows, seen = [], set()
    for row in conversations:
        score = scores[row["row_id"]]
        reason = row["drop_reason"] or _conversation_reason(row, score, filters, near_held_out)
        text = " ".join(turn["content"] for turn in row["messages"] if turn["role"] == "assistant")
        if not reason and text in seen:
            reason = "duplicate"
        seen.add(text)
        rows.append(Conversation(**{**row, "score": score, "drop_reason": reason}))
    return rows


def without_system(conversation: Conversation) -> Conversation:
    """The conversation without its system prompt."""
    messages = [turn for turn in conversation["messages"] if turn["role"] != "system"]
    return Conversation(**{**conversation, "messages": messages})


def _conversation_reason(row: Conversation, score: float, filters: FilterConfig, near_held_out: Set[str]) -> str:
    turns = [turn for turn in row["messages"] if turn["role"] != "system"]
    if row["kind"] == "reflection":
        if turns[0]["content"] in near_held_out:
            return "near_duplicate"
        texts = [turns[-1]["content"]]
    else:
        # A self-interaction begins with two greetings, which nobody's model wrote.
        texts = [turn["content"] for turn in turns[2:] or turns[-1:]]
    reasons = [drop_reason(text, "stop", filters) for text in texts]
    if said_before(texts) > filters.max_repeated_turn:
        reasons.append("repeated_turn")
    if math.isnan(score):
        reasons.append("unscored")
    elif score < filters.min_contrast:
        reasons.append("low_contrast")
    return next((reason for reason in reasons if reason), "")


def _side_id(pair: Pair, side: str) -> str:
    return content_hash("imported", side, pair["row_id"])
