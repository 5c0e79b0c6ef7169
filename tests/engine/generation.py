"""The generation that tests/engine/test_generation.py disturbs.

python tests/engine/generation.py FOLDER                  on one node; the test kills the whole process
python tests/engine/generation.py FOLDER talk             conversations beside single requests
python tests/engine/generation.py FOLDER lose-a-node      on three nodes, the engine's own lost midway; with "talk" or "keep" too
python tests/engine/generation.py FOLDER keep             on an engine that then reads other weights, the first again, and dies midway
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import ray
from ray.cluster_utils import Cluster

from character_ray.config import EngineConfig, ModelConfig, SamplingConfig
from character_ray.inference.generate import generate
from character_ray.inference.kept_engines import KeptEngines
from character_ray.inference.passes import Generation, SelfInteraction
from character_ray.models import resolve_model
from character_ray.parts import read_parts
from character_ray.pipeline.orphans import no_orphans
from character_ray.rows import Dialogue, Message
from character_ray.runs import Store
from character_ray.stages.requests import build_request
from tests.lost_nodes import cluster_of, lose, nodes_of
from tests.other_weights import weights_of, without_a_layer

ENGINE = EngineConfig(
    device="cpu",
    dtype="float32",
    max_model_len=256,
    max_num_seqs=4,
    max_failed_share=0.2,
    batch_size=2,
    kv_cache_gib=0.25,
    enforce_eager=True,
)
POISONOUS = 7


def stage(folder: Path, name: str = "fruit") -> Generation:
    """Thirty greedy requests, of which one is longer than the engine's context."""
    requests = []
    for number in range(30):
        text = "word " * 400 if number == POISONOUS else f"Name {number + 2} kinds of fruit."
        messages = [Message(role="user", content=text)]
        sampling = SamplingConfig(temperature=0.0, max_tokens=24)
        requests.append(build_request("test", str(number), messages, sampling, seed=0))
    return Generation(Store(folder).artefact(name, {"rows": 30}), requests)


def part(folder: Path) -> Generation:
    """Another stage that wants ten of the same rows."""
    return Generation(Store(folder).artefact("some-fruit", {"rows": 10}), stage(folder).requests[10:20])


def talk(folder: Path) -> SelfInteraction:
    """Eight greedy conversations, of which one begins with more than the engine's context."""
    rows = []
    for number in range(8):
        opening = "word " * 400 if number == POISONOUS else f"Tell me about the number {number}."
        sampling = SamplingConfig(temperature=0.0, max_tokens=12).model_dump()
        rows.append(Dialogue(row_id=f"talk-{number}", system="Be brief.", opening=opening, turns=4, sampling=sampling))
    return SelfInteraction(Store(folder).artefact("talk", {"rows": 8}), rows)


def wait_for_rows(generation: Generation) -> None:
    """Until a few rows are there and others are under way."""
    while len(read_parts(generation.artefact.folder)) < 6:
        time.sleep(0.02)


def lose_the_engines_node(cluster: Cluster, generation: Generation) -> None:
    """Loses the node that the engine runs on as soon as a few rows are there."""
    wait_for_rows(generation)
    # The first names the actor of single requests, the second that of conversations.
    lose(cluster, nodes_of(cluster, "vLLMEngine", "Talker")[0])
    (generation.artefact.folder.parent / "node-lost").touch()


@contextmanager
def three_nodes(generation: Generation) -> Iterator[None]:
    """A head without work and two workers, of which one is lost; all are gone in the end."""
    with cluster_of(2, num_cpus=3) as cluster:
        threading.Thread(target=lose_the_engines_node, args=(cluster, generation), daemon=True).start()
        yield


def end_engines(generation: Generation) -> None:
    """Kills the processes in which engines compute as soon as a few rows are there, and leaves the actors that ask them."""
    wait_for_rows(generation)
    if generation.artefact.is_done:
        return
    for process in psutil.Process().children(recursive=True):
        if process.name().startswith("VLLM::"):
            process.kill()
            (generation.artefact.folder.parent / "engine-lost").touch()


@contextmanager
def one_node() -> Iterator[None]:
    """Ray on this machine alone, as a run starts it."""
    with no_orphans():
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


if __name__ == "__main__":
    model = resolve_model(ModelConfig())
    folder, options = Path(sys.argv[1]), sys.argv[2:]
    talks = [talk(folder)] if "talk" in options else []
    kept = KeptEngines() if "keep" in options else None
    with three_nodes(stage(folder)) if "lose-a-node" in options else one_node():
        generate("fruit", [*talks, stage(folder), part(folder)], weights_of(model), ENGINE, kept)
        if kept is not None and "lose-a-node" not in options:
            other = without_a_layer(model, folder / "other")
            generate("other weights", [stage(folder, "other-fruit")], other, ENGINE, kept)
            generate("the first again", [stage(folder, "fruit-again")], weights_of(model), ENGINE, kept)
            anew = stage(folder, "other-fruit-anew")
            threading.Thread(target=end_engines, args=(anew,), daemon=True).start()
            generate("an engine started anew", [anew], other, ENGINE, kept)
