"""Does the persona direction cause the persona? Taken out of the trained model, added to the untrained one, beside random ones.

The direction and its layer are found on one half of the prompts, and every intervention is judged on the other half. A random
direction of the same length, treated in the same way, shows what any push of that size does.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from character_ray.config import SamplingConfig
from character_ray.evaluation.probing.layers import gap, mean_difference
from character_ray.evaluation.probing.steering import added, random_direction, removed
from character_ray.evaluation.reader import Reader
from character_ray.rows import Message
from character_ray.statistics import cluster_rate, paired_difference

__all__ = ["choose_layer", "intervene"]

Verdicts = Callable[[Sequence[str], Sequence[str]], Sequence[bool]]
"""Prompts and completions to whether each is in character."""


def choose_layer(inside_NLD: np.ndarray, outside_NLD: np.ndarray) -> int:
    """Number, from 0, of the layer whose two classes lie farthest apart, among the middle half of the layers.

    The first layers see words, the last ones choose them; a push in the middle can still be read by what follows. Half of the rows give
    the direction, the other half the distance.
    """
    num_layers = inside_NLD.shape[1]
    middle = range(num_layers // 4, max(num_layers // 4 + 1, num_layers * 3 // 4))
    half = len(inside_NLD) // 2
    labels = np.repeat([True, False], [len(inside_NLD) - half, len(outside_NLD) - half])
    gaps = {}
    for layer in middle:
        fitted = np.concatenate([inside_NLD[:half, layer], outside_NLD[:half, layer]])
        direction = mean_difference(fitted, np.repeat([True, False], half))
        held_out = np.concatenate([inside_NLD[half:, layer], outside_NLD[half:, layer]])
        gaps[layer] = gap(held_out @ direction, labels)
    return max(gaps, key=lambda layer: -np.inf if np.isnan(gaps[layer]) else gaps[layer])


def intervene(
    reader: Reader,
    layer: int,
    direction_D: np.ndarray,
    chats: Sequence[Sequence[Message]],
    prompts: Sequence[str],
    in_character: Verdicts,
    is_looping: Callable[[str], bool],
    *,
    strengths: Sequence[float],
    controls: int,
    sampling: SamplingConfig,
    seed: int,
    batch_size: int,
) -> dict[str, Any]:
    """Answers under every intervention, and what they did to persona and text.

    Args:
        reader: Base and the adapter ``full``.
        layer: Where the direction is added, from 0; it is taken out after every layer.
        direction_D: Mean in character minus mean not in character.
        chats: What is asked; prompts that the direction was not found on.
        prompts: The same as text; observations are clustered by it.
        in_character: The judge.
        is_looping: Whether a text repeats itself.
        strengths: Multiples of the direction that are added.
        controls: Random directions beside each intervention.
        sampling: How answers are drawn.
        seed: Seed of answers and random directions.
        batch_size: Answers drawn at once.

    Returns:
        ``conditions``: name, kind, persona and looping rate, and an example each; ``effects``: differences paired by prompt.
    """
    blocks, kept = reader.layers, {}

    def ask(arm: str, around: Callable[[], AbstractContextManager[None]]) -> list[str]:
        with reader.weights(arm), around():
            return reader.complete(chats, sampling, seed=seed, batch_size=batch_size)

    def measure(name: str, kind: str, arm: str, answers: list[str]) -> dict[str, Any]:
        names = [str(prompt) for _ in range(len(answers) // len(prompts)) for prompt in prompts]
        verdicts = [float(verdict) for verdict in in_character(names, answers)]
        kept[name] = (verdicts, names)
        looping = [float(is_looping(answer)) for answer in answers]
        return {
            "name": name,
            "kind": kind,
            "weights": arm,
            "persona_rate": vars(cluster_rate(verdicts, names, seed=seed)),
            "looping_rate": vars(cluster_rate(looping, names, seed=seed)),
            "mean_words": float(np.mean([len(answer.split()) for answer in answers])),
            "example": {"prompt": str(prompts[0]), "completion": answers[0]},
        }

    randoms = [random_direction(direction_D, seed + number) for number in range(controls)]
    conditions = [measure(arm, "none", arm, ask(arm, nullcontext)) for arm in ("base", "full")]
    effects = []

    def pair(persona: str, control: str, untouched: str) -> None:
        for against in (untouched, control):
            change = paired_difference(*kept[persona], *kept[against], seed=seed)
            effects.append({"condition": persona, "against": against, **vars(change)})

    taken = ask("full", lambda: removed(blocks, direction_D))
    conditions.append(measure("full, direction out", "removed", "full", taken))
    taken = [text for random in randoms for text in ask("full", lambda random=random: removed(blocks, random))]  # type: ignore[misc]
    conditions.append(measure("full, random out", "removed_control", "full", taken))
    pair("full, direction out", "full, random out", "full")
    for strength in strengths:
        name, control = f"base +{strength:g}", f"base +{strength:g} random"
        pushed = ask("base", lambda strength=strength: added(blocks[layer], strength * direction_D))  # type: ignore[misc]
        conditions.append(measure(name, "added", "base", pushed))
        pushed = [
            text
            for random in randoms
            for text in ask("base", lambda random=random, strength=strength: added(blocks[layer], strength * random))  # type: ignore[misc]
        ]
        conditions.append(measure(control, "added_control", "base", pushed))
        pair(name, control, "base")
    return {"conditions": conditions, "effects": effects}
