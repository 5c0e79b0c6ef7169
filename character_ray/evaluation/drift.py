"""How far an arm's next-token distributions are from those of the untrained weights, on what the arm itself says.

    drift = mean over the answer's tokens of  KL( policy(. | context, so far)  ||  base(. | prompt, so far) )      [nats per token]

The sum over the vocabulary is exact. The expectation is over the arm's own answers, so it is the KL of whole answers divided by
their length, estimated without the noise of scoring single tokens. An arm that is only prompted drifts too: its context is its own.
"""

from collections.abc import Sequence

import numpy as np

from character_ray.evaluation.reader import Passage, Reader

__all__ = ["answer_drift"]


def answer_drift(
    reader: Reader, arm: str, own: Sequence[Passage], plain: Sequence[Passage], batch_size: int = 16
) -> np.ndarray:
    """Mean per-token divergence of each answer; shape ``(N,)``, nats.

    Args:
        reader: Base model and adapters.
        arm: Whose weights are the policy.
        own: The answers as the arm saw them, its system prompt included where it has one.
        plain: The same answers after the prompt alone, as the base is asked.
        batch_size: Answers per forward pass.

    Raises:
        ValueError: The two differ in number, or an answer's tokens do.
    """
    if [passage.answer for passage in own] != [passage.answer for passage in plain]:
        raise ValueError("the answers read by the policy and by the base are not the same tokens")
    drift_N = np.full(len(own), np.nan)
    for first in range(0, len(own), batch_size):
        part = slice(first, first + batch_size)
        with reader.weights(arm):
            policy = {place: logits.log_softmax(-1) for place, logits in reader.answer_logits(own[part], batch_size)}
        with reader.weights("base"):
            for place, logits in reader.answer_logits(plain[part], batch_size):
                log_p = policy.pop(place)
                drift_N[first + place] = float((log_p.exp() * (log_p - logits.log_softmax(-1))).sum(-1).mean())
    return drift_N
