"""How likely an arm finds each of several answers: choices without generating a word."""

from collections.abc import Sequence

from character_ray.evaluation.reader import Reader
from character_ray.rows import Message

__all__ = ["option_log_probs"]


def option_log_probs(
    reader: Reader, arm: str, chats: Sequence[Sequence[Message]], options: Sequence[Sequence[str]], batch_size: int
) -> list[list[float]]:
    """Mean log-probability per token of each option as the whole answer to its chat; nats, end of turn included.

    Args:
        reader: Base model and adapters.
        arm: Whose weights answer.
        chats: One per question.
        options: The options of each question, in its order.
        batch_size: Options per forward pass.
    """
    passages = [reader.passage(chat, option) for chat, own in zip(chats, options, strict=True) for option in own]
    scores = [0.0] * len(passages)
    with reader.weights(arm):
        for place, logits in reader.answer_logits(passages, batch_size):
            targets = logits.new_tensor(passages[place].answer).long()
            scores[place] = float(logits.log_softmax(-1).gather(-1, targets[:, None]).mean())
    found, first = [], 0
    for own in options:
        found.append(scores[first : first + len(own)])
        first += len(own)
    return found
