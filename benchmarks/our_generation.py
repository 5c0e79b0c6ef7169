"""Our generation as a run does it, on an engine that stays up from pass to pass: what is measured beside bare vLLM."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from character_ray.chat_safety import control_tokens
from character_ray.config import EngineConfig
from character_ray.inference.generate import Weights, generate
from character_ray.inference.kept_engines import KeptEngines
from character_ray.inference.passes import Generation, SelfInteraction
from character_ray.parts import read_rows
from character_ray.rows import Dialogue, Request
from character_ray.runs import Store

__all__ = ["Ours", "our_engine"]


class Ours:
    """Passes over one kept engine."""

    def __init__(self, model: Path, engine: EngineConfig) -> None:
        self._weights = Weights(model, tuple(control_tokens(model)))
        self._engine = engine.model_copy(update={"keep": True})
        self._kept = KeptEngines()

    def close(self) -> None:
        """End the engine."""
        self._kept.end()

    def complete(self, rows: Sequence[Request]) -> float:
        """Tokens per second of a pass, from the moment a quarter of its rows is done to its end."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            self._pass(Generation(Store(folder).artefact("bench", {"rows": [row["row_id"] for row in rows]}), rows))
            parts = sorted(folder.rglob("part-*.parquet"))  # numbered in the order they were written
            done = tokens = 0
            began = ended = parts[0].stat().st_mtime
            for path in parts:
                ended, finished = path.stat().st_mtime, read_rows(path)
                if done < len(rows) / 4:
                    began = ended
                else:
                    tokens += sum(row["num_tokens"] for row in finished)
                done += len(finished)
            return tokens / (ended - began)

    def talk(self, rows: Sequence[Dialogue]) -> tuple[float, int]:
        """Wall seconds and turns of a pass of self-interaction."""
        with tempfile.TemporaryDirectory() as folder:
            artefact = Store(Path(folder)).artefact("bench", {"rows": [row["row_id"] for row in rows]})
            interactions = SelfInteraction(artefact, rows)
            started = monotonic()
            self._pass(interactions)
            return monotonic() - started, sum(len(row["messages"]) - 1 for row in interactions.talks())

    def _pass(self, stage: Generation | SelfInteraction) -> None:
        generate("ours", [stage], self._weights, self._engine, self._kept)


@contextmanager
def our_engine(model: Path, engine: EngineConfig) -> Iterator[Ours]:
    """Ours on a Ray of its own, which ends with its engine."""
    import ray

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    ours = Ours(model, engine)
    try:
        yield ours
    finally:
        ours.close()
        ray.shutdown()
