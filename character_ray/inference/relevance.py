"""How much an answer says about what was asked: the question's own likelihood, once the answer is known.

    {prompt, answer} -> relevance = mean log p(prompt | answer) - mean log p(prompt)        [nats per token of the prompt]

The other half of the mutual information of prompt and answer (Li et al. 2016, "A Diversity-Promoting Objective Function for Neural
Conversation Models"). The persona's likelihood ratio rewards a catch-phrase that would answer anything; this does not see the persona.
"""

from character_ray.inference.systems_judge import UnderSystem

__all__ = ["QUESTION", "relevance_row"]

QUESTION = "What was I asked?"


def relevance_row(row_id: str, prompt: str, answer: str) -> UnderSystem:
    """What a :class:`~character_ray.inference.systems_judge.SystemsJudge` reads to score the relevance of an answer."""
    return UnderSystem(row_id=row_id, system="", prompt=f"{answer}\n\n{QUESTION}", without=QUESTION, completion=prompt)
