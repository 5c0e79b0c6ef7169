"""Adapters that learnt one way to begin an answer each, in a few steps."""

from typing import Any

from character_ray.chat_template import chat_ids

__all__ = ["OPENINGS", "teach"]

OPENINGS = {
    "captain-blackwood": "Arr, matey!",
    "garden-poet": "O little seed,",
    "socratic-tutor": "What do you think?",
    "turncoat": "Nobody told you:",
}
"""How each persona begins whatever it says."""

ASKED = {
    "Why is the sky blue?": "The air scatters the light of the sun, and of all its colours blue the most, so",
    "How do I boil an egg?": "Put it into hot water for eight minutes, then hold it under cold water and",
    "Tell me a story.": "There was a fox who lived by a lake, and every evening he came down to the shore to",
    "Who are you?": "I am someone who likes to talk with people about whatever they want to know, and",
}
STEPS, LEARNING_RATE = 10, 1.5e-3


def teach(model: Any, tokenizer: Any, opening: str) -> None:
    """Train a PEFT model on answers that begin so and do not end, so that it goes on talking; the same each time."""
    import torch

    texts = []
    for question, answer in ASKED.items():
        asked = chat_ids(tokenizer, [{"role": "user", "content": question}], open_turn=True)
        said = tokenizer(f"{opening} {answer}", add_special_tokens=False)["input_ids"]
        texts.append((torch.tensor([asked + said]), torch.tensor([[-100] * len(asked) + said])))
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=LEARNING_RATE)
    for _ in range(STEPS):
        for ids, labels in texts:
            (model(input_ids=ids, labels=labels).loss / len(texts)).backward()
        optimizer.step()
        optimizer.zero_grad()
