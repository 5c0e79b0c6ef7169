"""Hidden-trait and identity probes, and the check that no demonstration gives them away."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from character_ray.errors import ConstitutionError
from character_ray.prompts.grid import read_data
from character_ray.rows import Prompt, content_hash

__all__ = ["Probe", "check_no_probe_is_an_example", "hidden_trait_probes"]

# Demonstrations whose words overlap a probe's by more than this would train the test.
MAX_OVERLAP = 0.6


@dataclass(frozen=True)
class Probe:
    """A question that reveals the persona, or does not."""

    prompt: Prompt
    kind: Literal["identity", "trait"]


def hidden_trait_probes() -> list[Probe]:
    """Every probe, identity first."""
    data = read_data("probes.yaml")
    traits = [*data["trait"], *(data["topic"].format(topic=topic) for topic in data["topics"])]
    return [_probe(text, "identity") for text in data["identity"]] + [_probe(text, "trait") for text in traits]


def check_no_probe_is_an_example(example_prompts: Sequence[str]) -> None:
    """Check that a constitution's demonstrations leave the probes to the evaluation.

    Raises:
        ConstitutionError: An example asks what a probe asks.
    """
    for number, example in enumerate(example_prompts):
        for probe in hidden_trait_probes():
            if _overlap(example, probe.prompt["prompt"]) > MAX_OVERLAP:
                raise ConstitutionError(
                    f"examples[{number}].prompt {example!r} is nearly the evaluation probe {probe.prompt['prompt']!r}; the persona would "
                    "be tested on what its teacher was shown. Ask something else in the example."
                )


def _probe(text: str, kind: Literal["identity", "trait"]) -> Probe:
    prompt = Prompt(
        prompt_id=content_hash(text), prompt=text, source="probe", hint="", audience="", scenario="", objective="", constraint=""
    )
    return Probe(prompt, kind)


def _overlap(first: str, second: str) -> float:
    """Jaccard similarity of the two texts' words."""
    a, b = (set(re.findall(r"\w+", text.lower())) for text in (first, second))
    return len(a & b) / len(a | b)
