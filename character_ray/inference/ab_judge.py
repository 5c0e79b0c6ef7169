"""A chat model as judge: which of two answers is more in character, read off the next token's probabilities in one prefill.

    {row_id, prompt, first, second} -> {row_id, first_wins}

``first_wins`` is p("A") / (p("A") + p("B")) at the position of the verdict; nothing is generated, so no verdict is unreadable.
The character stands before everything else and is read once; so is a question with its first answer, whatever second answers it meets
in a batch.
"""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa

from character_ray.chat_safety import control_tokens, neutralize
from character_ray.chat_template import chat_ids
from character_ray.config import JudgeConfig
from character_ray.inference.judge_actors import judged_rows, load_judge_model
from character_ray.inference.kept_prefix import KeptPrefix, shared_beginning
from character_ray.judging.audit import SeatedPair
from character_ray.log import stage_progress
from character_ray.parts import append_part, read_parts
from character_ray.prefix_packing import Tree, takes_a_mask
from character_ray.rows import Message
from character_ray.runs import Artefact

__all__ = ["LETTERS", "QUESTION", "REASONED", "ABJudge", "judge_messages", "judge_pairs"]

SYSTEM = "You judge which of two answers is more in character."
QUESTION = """The character:
{character}

The question:
{prompt}

Answer A:
{first}

Answer B:
{second}

Which answer is more in character, A or B?"""
LETTERS = " You answer with one letter, A or B."
REASONED = (
    " The order of the answers and their length say nothing. Compare them in a few sentences, then end with your verdict on a line of "
    "its own: [[A]], [[B]], or [[tie]] if neither is more in character."
)
VERDICT = pa.schema({"row_id": pa.string(), "first_wins": pa.float64()})


def judge_messages(row: SeatedPair, character: str, special: Sequence[str], manner: str) -> list[Message]:
    """What a chat model is asked about a pair in its seats.

    Args:
        row: The pair.
        character: The constitution as a system prompt.
        special: Control tokens, made harmless in what others wrote.
        manner: How to answer: :data:`LETTERS` or :data:`REASONED`.
    """
    # Filled part by part: braces in an answer are the answer's own.
    parts = {"character": character, **{name: row[name].strip() for name in ("prompt", "first", "second")}}
    text = QUESTION.format(**{name: neutralize(part, list(special)) for name, part in parts.items()})
    return [Message(role="system", content=SYSTEM + manner), Message(role="user", content=text)]


def judge_pairs(
    label: str,
    rows: Sequence[SeatedPair],
    model: Path,
    character: str,
    judge: JudgeConfig,
    artefact: Artefact | None = None,
) -> dict[str, float]:
    """How likely the judge holds the first seat to be the better one, by row id; computed on Ray.

    Args:
        label: Name on the progress line.
        rows: Pairs in their seats.
        model: Folder of the chat model.
        character: The constitution as a system prompt.
        judge: Device, number format and batch size.
        artefact: Where verdicts are kept, and read when an earlier attempt wrote them; ``None`` keeps none.
    """
    started = monotonic()
    found = {row["row_id"]: row["first_wins"] for row in read_parts(artefact.folder)} if artefact else {}
    # Pairs that begin alike side by side, so that a batch reads what they share once.
    ordered = sorted(
        (row for row in rows if row["row_id"] not in found),
        key=lambda row: (len(row["prompt"] + row["first"]), row["prompt"], row["first"], len(row["second"])),
    )
    if ordered:
        with stage_progress(label, len(ordered)) as progress:
            for judged in judged_rows(ABJudge, (str(model), character, judge), ordered, judge):
                if artefact:
                    append_part(artefact.folder, judged, VERDICT)
                found |= {row["row_id"]: row["first_wins"] for row in judged}
                progress.advance(len(judged))
    if artefact and not artefact.is_done:
        artefact.finish({"wall_s": monotonic() - started, "rows_in": len(rows), "rows_out": len(rows)})
    return {row["row_id"]: found[row["row_id"]] for row in rows}


class ABJudge:
    """Judges batches of pairs; one per Ray actor."""

    def __init__(self, model: str, character: str, judge: JudgeConfig) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._special, self._character = control_tokens(Path(model)), character
        self._model = load_judge_model(Path(model), judge)
        self._letters = [self._tokenizer.encode(letter, add_special_tokens=False)[0] for letter in "AB"]
        self._shares = takes_a_mask(self._model)
        probes = [self._ids(SeatedPair(row_id="", prompt=text, first="", second="")) for text in ("a", "b")]
        prefix = probes[0][: shared_beginning(probes)]
        self._kept, self._bare = KeptPrefix(self._model, prefix), KeptPrefix(self._model, [])

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Judge one batch of :class:`~character_ray.judging.audit.SeatedPair` columns."""
        import numpy as np

        columns = (batch[name] for name in ("prompt", "first", "second"))
        rows = [
            SeatedPair(row_id="", prompt=str(prompt), first=str(first), second=str(second))
            for prompt, first, second in zip(*columns, strict=True)
        ]
        ids = [self._ids(row) for row in rows]
        length = len(self._kept.ids)
        # A prompt may begin so that its first letters and what stands before them make one token.
        usual = [row for row in range(len(rows)) if ids[row][:length] == self._kept.ids]
        unusual = [row for row in range(len(rows)) if ids[row][:length] != self._kept.ids]
        first_wins = np.empty(len(rows))
        for kept, numbers in ((self._kept, usual), (self._bare, unusual)):
            if numbers:
                alike = [(rows[row]["prompt"], rows[row]["first"]) for row in numbers]
                first_wins[numbers] = self._judge(kept, [ids[row] for row in numbers], alike)
        return {"row_id": batch["row_id"], "first_wins": first_wins}

    def _judge(self, kept: KeptPrefix, ids: list[list[int]], alike: Sequence[Any]) -> Any:
        """Probability of the first seat for each sequence; those alike are read as one tree."""
        import torch

        groups: dict[Any, list[int]] = {}
        for number, key in enumerate(alike):
            groups.setdefault(key if self._shares else number, []).append(number)
        trees, places = [], [(0, 0)] * len(ids)
        for tree, members in enumerate(groups.values()):
            rests = [ids[number][len(kept.ids) :] for number in members]
            shared = min(shared_beginning(rests), min(map(len, rests)) - 1)
            # The letter behind each leaf only says where it would be predicted.
            trees.append(Tree(rests[0][:shared], [[*rest[shared:], self._letters[0]] for rest in rests]))
            for leaf, number in enumerate(members):
                places[number] = (tree, leaf)
        hidden_ND, packed = kept.hidden(trees, together=self._shares)
        last = [packed.scored[tree][leaf][-1] for tree, leaf in places]
        with torch.inference_mode():
            logits_BV = self._model.get_output_embeddings()(hidden_ND[last]).float()
            return logits_BV[:, self._letters].softmax(-1)[:, 0].double().cpu().numpy()

    def _ids(self, row: SeatedPair) -> list[int]:
        return chat_ids(self._tokenizer, judge_messages(row, self._character, self._special, LETTERS), open_turn=True)
