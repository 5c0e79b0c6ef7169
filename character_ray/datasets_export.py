"""A run's training data as datasets that other tools read.

    runs/<name>/pairs          -> preference/             {prompt, chosen, rejected}   TRL's conversational preference format
    runs/<name>/introspection  -> sft/                    {messages}                   TRL's conversational language-modelling format
                                  sft-prompt-completion/  {prompt, completion}         TRL's conversational prompt-completion format
                                  argilla.jsonl           {id, prompt, chosen, rejected, ...metadata}      a pair a line, flat
                                  README.md               dataset card, with the three as configurations

Each folder holds one ``train.parquet``. ``datasets.load_dataset(folder, "preference")`` and TRL's own ``trl dpo`` and ``trl sft`` read it
as it is.
"""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa

from character_ray.dataset_card import dataset_card
from character_ray.errors import ReportError
from character_ray.parts import read_rows, write_rows
from character_ray.rows import CONVERSATION, PAIR

__all__ = ["Export", "export_run"]

PREFERENCE = pa.schema([PAIR.field(name) for name in ("prompt", "chosen", "rejected")])
SFT = pa.schema([CONVERSATION.field("messages")])
PROMPT_COMPLETION = pa.schema([(name, CONVERSATION.field("messages").type) for name in ("prompt", "completion")])


class Export(dict[str, int]):
    """Rows written, by name of the dataset."""


def export_run(run: Path, folder: Path) -> Export:
    """Write the kept rows of a run's pairs and conversations, with a dataset card.

    Args:
        run: Folder of a run whose pairs are made; conversations are added when they are there.
        folder: Where the datasets go; it must not exist, or be empty.

    Raises:
        ReportError: The run has no pairs, or the folder already holds something.
    """
    pairs_file, conversations_file = run / "pairs" / "pairs.parquet", run / "introspection" / "conversations.parquet"
    if not pairs_file.is_file():
        raise ReportError(f"{run} has no pairs yet (looked for {pairs_file}). Run the pipeline up to the pairs first.")
    if folder.is_dir() and any(folder.iterdir()):
        raise ReportError(f"{folder} is not empty, and nothing is overwritten. Name a new folder.")
    pairs = read_rows(pairs_file)
    conversations = read_rows(conversations_file) if conversations_file.is_file() else []
    kept = [row for row in pairs if not row["drop_reason"]]
    spoken = [row for row in conversations if not row["drop_reason"]]
    parts = {"preference": (_only(kept, PREFERENCE), PREFERENCE)}
    if spoken:
        parts["sft"] = _only(spoken, SFT), SFT
        parts["sft-prompt-completion"] = [_split(row["messages"]) for row in spoken], PROMPT_COMPLETION
    for name, (rows, schema) in parts.items():
        (folder / name).mkdir(parents=True)
        write_rows(folder / name / "train.parquet", rows, schema)
    written = Export({name: len(rows) for name, (rows, _) in parts.items()})
    with (folder / "argilla.jsonl").open("w", encoding="utf-8") as lines:
        for row in kept:
            lines.write(json.dumps(_argilla(row), ensure_ascii=False) + "\n")
    recipe = json.loads((run / "run.json").read_text(encoding="utf-8"))["recipe"]
    (folder / "README.md").write_text(dataset_card(run.name, recipe, written, pairs, conversations), encoding="utf-8")
    return written


def _only(rows: list[dict[str, Any]], schema: pa.Schema) -> list[dict[str, Any]]:
    return [{name: row[name] for name in schema.names} for row in rows]


def _split(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """A conversation, which ends on an assistant turn, as what comes before that turn and the turn itself."""
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def _argilla(row: dict[str, Any]) -> dict[str, Any]:
    """A record whose keys are the names of an Argilla dataset's fields and metadata: its ``records.log`` reads no nested ones."""
    return {
        "id": row["row_id"],
        **{side: row[side][-1]["content"] for side in ("prompt", "chosen", "rejected")},
        # Terms must not be empty, and a number without a value is left out.
        "hint": row["hint"] or "none",
        "kind": row["kind"],
        "directive": row["directive"] or "none",
        **{name: None if math.isnan(row[name]) else row[name] for name in ("chosen_score", "rejected_score")},
    }
