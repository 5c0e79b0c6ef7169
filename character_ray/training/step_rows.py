"""Which rows a step is made of, so that an error can name them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from accelerate.utils import gather_object  # type: ignore[import-untyped]
from transformers import Trainer

__all__ = ["COLUMN", "KnowsItsRows", "StepRows"]

COLUMN = "row_id"
SHOWN = 32


class StepRows:
    """Ids of the rows that the current optimizer step reads on this worker."""

    def __init__(self) -> None:
        self._step = -1
        self._ids: list[str] = []

    def add(self, step: int, ids: Sequence[str]) -> None:
        """Note the rows of a micro-batch.

        Args:
            step: Optimizer steps taken before it; another than the last drops what was noted.
            ids: Its rows.
        """
        if step != self._step:
            self._step, self._ids = step, []
        self._ids += ids

    def named(self) -> str:
        """``rows a, b, c``, of all workers together; they must call it at the same step."""
        ids = list(dict.fromkeys(gather_object(self._ids)))
        further = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        return f"rows {', '.join(ids[:SHOWN])}{further}" if ids else "rows that are not known"


class KnowsItsRows(Trainer):
    """Base of our trainers: the ids in :data:`COLUMN` of the data travel with the batches and are noted as they are read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.step_rows = StepRows()
        self.data_collator = _with_ids(self.data_collator)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: list[str] = self._signature_columns or []
        if COLUMN not in columns:
            self._signature_columns = [*columns, COLUMN]  # type: ignore[assignment]

    def _prepare_inputs(self, inputs: Any) -> Any:
        # On-policy distillation hands on the rows themselves, which it makes a batch of.
        ids = [row[COLUMN] for row in inputs if COLUMN in row] if isinstance(inputs, list) else inputs.pop(COLUMN, [])
        if self.model is not None and self.model.training:
            self.step_rows.add(self.state.global_step, ids)
        return super()._prepare_inputs(inputs)


def _with_ids(collate: Callable[[list[dict[str, Any]]], Any]) -> Callable[[list[Mapping[str, Any]]], Any]:
    """The collator with the ids of its examples beside what it makes of them."""

    def collated(examples: list[Mapping[str, Any]]) -> Any:
        batch = collate([{name: value for name, value in each.items() if name != COLUMN} for each in examples])
        if isinstance(batch, list):  # the rows as they are
            return examples
        return batch | {COLUMN: [each[COLUMN] for each in examples if COLUMN in each]}

    return collated
