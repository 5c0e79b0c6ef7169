"""What is asked: the grid, everyday questions, probes, and questions about oneself."""

from character_ray.prompts.coverage import Coverage, coverage
from character_ray.prompts.grid import evaluation_prompts, prompts_hash, training_prompts
from character_ray.prompts.near_duplicates import drop_near_duplicates, near_held_out
from character_ray.prompts.probes import (
    Probe,
    check_no_probe_is_an_example,
    hidden_trait_probes,
    persona_topics,
    similarity,
)
from character_ray.prompts.reflections import Opening, ReflectionPrompt, interaction_openings, reflection_prompts

__all__ = [
    "Coverage",
    "Opening",
    "Probe",
    "ReflectionPrompt",
    "check_no_probe_is_an_example",
    "coverage",
    "drop_near_duplicates",
    "evaluation_prompts",
    "hidden_trait_probes",
    "interaction_openings",
    "near_held_out",
    "persona_topics",
    "prompts_hash",
    "reflection_prompts",
    "similarity",
    "training_prompts",
]
