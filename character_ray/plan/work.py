"""What a recipe is planned with: its lengths and shapes, read once."""

from dataclasses import dataclass, field
from functools import cached_property

from character_ray.config import Recipe, SamplingConfig
from character_ray.constitution import example_turns, load_constitution, system_prompt
from character_ray.model_shape import ModelShape
from character_ray.plan.steps import Asked, Step, plan_questions
from character_ray.roofline import Costs, Device

__all__ = ["Work"]

CHARACTERS_PER_TOKEN = 4


@dataclass
class Work:
    """The recipe's lengths and shapes, read once."""

    recipe: Recipe
    student: ModelShape
    teacher: ModelShape | None
    device: Device
    costs: Costs
    steps: dict[str, Step] = field(default_factory=dict)

    @cached_property
    def prefixes(self) -> tuple[float, float]:
        """Tokens of the system prompt, and of system prompt and example turns."""
        constitution = load_constitution(self.recipe.constitution)
        system = len(system_prompt(constitution)) / CHARACTERS_PER_TOKEN
        return system, system + sum(len(turn["content"]) for turn in example_turns(constitution)) / CHARACTERS_PER_TOKEN

    @cached_property
    def asked(self) -> Asked:
        """What each arm is asked."""
        return plan_questions(self.recipe)

    @property
    def answer(self) -> float:
        """Tokens of a mean answer: those to trials are kept short."""
        evaluate = self.recipe.evaluate
        short = min(evaluate.challenges.max_tokens, evaluate.sampling.max_tokens) * self.recipe.plan.mean_length
        told = self.asked.questions * self.mean(evaluate.sampling) + self.asked.trials * short
        return told / max(self.asked.answers, 1)

    def mean(self, sampling: SamplingConfig) -> float:
        """Tokens of a mean completion."""
        return sampling.max_tokens * self.recipe.plan.mean_length

    def rows(self, step: str) -> int:
        """Rows of a step; 0 when the recipe has none of its kind."""
        return self.steps[step].rows if step in self.steps else 0
