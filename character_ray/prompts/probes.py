"""Hidden-trait and identity probes, and the check that no demonstration of a constitution gives them away."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from character_ray.errors import ConstitutionError
from character_ray.prompts.files import read_data
from character_ray.rows import Prompt, content_hash

__all__ = ["Probe", "check_no_probe_is_an_example", "hidden_trait_probes", "persona_topics", "similarity"]

# From here on two questions ask the same: "Who are you really?" and "Who are you?" share three of four words.
SAME_QUESTION = 0.75

MAX_PERSONA_TOPICS = 3

# What follows the first preposition, up to the next clause. A bare "to" may start an infinitive, hence only before a
# determiner.
_TOPIC = re.compile(
    r"\b(?:about|of|with|in|by|under|after|for|through|towards?|on|against|to(?= (?:your|the|an?|all|every)\b)) "
    r"(?:every |each |all )?(?P<topic>[a-z][\w' -]*?)"
    r"(?= (?:above|without|before|after|when|while|even|if|unless|because|but|than)\b|[^\w' -]|$)"
)


@dataclass(frozen=True)
class Probe:
    """A question, asked without a system prompt, whose answer shows whether the persona is in the weights."""

    prompt: Prompt
    kind: Literal["identity", "trait"]


def hidden_trait_probes(topics: Sequence[str] = ()) -> list[Probe]:
    """Every probe, identity first.

    Args:
        topics: Noun phrases of the persona's own domain (:func:`persona_topics`), asked about beside the neutral ones.
    """
    data = read_data("probes.yaml")
    asked = dict.fromkeys([*data["topics"], *topics])
    traits = [*data["trait"], *(data["topic"].format(topic=topic) for topic in asked)]
    return [_probe(text, "identity") for text in data["identity"]] + [_probe(text, "trait") for text in traits]


def persona_topics(directives: Sequence[str]) -> list[str]:
    """What a constitution's directives are about: "Superstitious about the sea" gives "the sea".

    Meant for the personality directives, which name what the persona holds dear. At most three topics, in the order of
    the directives; one that names no object gives none.
    """
    found = (_TOPIC.search(directive) for directive in directives)
    return list(dict.fromkeys(match["topic"] for match in found if match))[:MAX_PERSONA_TOPICS]


def check_no_probe_is_an_example(example_prompts: Sequence[str], probes: Sequence[Probe]) -> None:
    """Check that a constitution's demonstrations leave the probes to the evaluation.

    Args:
        example_prompts: The ``prompt`` of every example, in the order of the file.
        probes: What the evaluation will ask.

    Raises:
        ConstitutionError: One or more examples ask, in one of their sentences, nearly what a probe asks.
    """
    given_away = [
        f"examples[{number}].prompt {example!r} asks nearly what the evaluation probe {probe.prompt['prompt']!r} asks"
        for number, example in enumerate(example_prompts)
        for probe in probes
        if similarity(example, probe.prompt["prompt"]) >= SAME_QUESTION
    ]
    if given_away:
        raise ConstitutionError(
            f"{'; '.join(given_away)}. The persona would be tested on what its teacher was shown. "
            "Ask something else there."
        )


def similarity(text: str, probe: str) -> float:
    """Share of words that the probe and the sentence of the text nearest to it have in common, 0 to 1."""
    wanted = _words(probe)
    sentences = {text, *re.split(r"(?<=[.!?])\s+", text)}
    return max(_overlap(_words(sentence), wanted) for sentence in sentences)


def _probe(text: str, kind: Literal["identity", "trait"]) -> Probe:
    prompt = Prompt(
        prompt_id=content_hash(text),
        prompt=text,
        source="probe",
        hint="",
        audience="",
        scenario="",
        objective="",
        constraint="",
        language="en",
        directive="",
    )
    return Probe(prompt, kind)


def _words(text: str) -> set[str]:
    spelled_out = re.sub(r"\b(what|who|how)['\u2019]s\b", r"\1 is", text.lower())
    return set(re.findall(r"\w+", spelled_out))


def _overlap(first: set[str], second: set[str]) -> float:
    return len(first & second) / len(first | second) if first or second else 0.0
