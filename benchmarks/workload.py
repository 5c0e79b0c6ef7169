"""What the generation benchmarks ask: the demo's own requests, in any number, each run with prompts no earlier run has cached."""

from collections.abc import Sequence
from pathlib import Path

from character_ray.config import DistillConfig, IntrospectConfig, PromptsConfig, SamplingConfig
from character_ray.constitution import load_constitution
from character_ray.prompts import interaction_openings, training_prompts
from character_ray.rows import Dialogue, Request
from character_ray.stages.distill import teacher_requests
from character_ray.stages.introspect import dialogues

__all__ = ["SPOKEN", "conversations", "requests"]

CONSTITUTION = load_constitution(Path(__file__).parents[1] / "constitutions" / "captain-blackwood.yaml")

# Long enough that most answers end by themselves, each at its own length.
SPOKEN = SamplingConfig(top_k=50, max_tokens=160)


def requests(rows: int, max_tokens: int, seed: int) -> Sequence[Request]:
    """Teacher requests under system prompt and example turns, four samples a prompt."""
    prompts = training_prompts(PromptsConfig(grid=-(-rows // 4), everyday=0), seed)
    distill = DistillConfig(samples=4, teacher=SamplingConfig(top_k=50, max_tokens=max_tokens))
    return teacher_requests(prompts, CONSTITUTION, distill, seed)[:rows]


def conversations(rows: int, turns: int, seed: int) -> Sequence[Dialogue]:
    """Self-interactions under the constitution."""
    openings = interaction_openings(rows, seed)
    config = IntrospectConfig(interactions=rows, turns=turns, interaction_sampling=SPOKEN)
    return dialogues(openings, CONSTITUTION, config, seed)
