"""What the arena can seat: every model as it is, and every model that is only told who to be.

A contestant is asked for as ``model`` or ``model + constitution`` (system prompt) or ``model + constitution + examples`` (and the
example turns): the arms ``prompted`` and ``teacher`` of a run beside what was trained.
"""

from dataclasses import dataclass
from typing import Literal

from character_ray.constitution import Constitution, example_turns, prompted_messages
from character_ray.errors import StudioError
from character_ray.studio.api import Model
from character_ray.studio.battles import Contestant

__all__ = ["Choice", "build_contestant"]


@dataclass(frozen=True)
class Choice:
    """What a visitor picked."""

    model: str
    constitution: str = ""
    """Name of a file of the gallery; empty for the model as it is."""
    shown: Literal["prompt", "examples"] = "prompt"
    """Whether the model sees the system prompt alone or the example turns too."""


def build_contestant(choice: Choice, models: list[Model], constitution: Constitution | None) -> Contestant:
    """The contestant, with names that say which version of weights and constitution it is.

    Raises:
        StudioError: The API has no such model.
    """
    model = next(
        (each for each in models if choice.model in (each.id, each.pinned, "" if each.status else each.name)), None
    )
    if model is None:
        known = ", ".join(each.name for each in models) or "none"
        raise StudioError(f"the API has no model {choice.model!r}; it has {known}. Load the page again.")
    if constitution is None:
        return Contestant(model.key, model.label, model.pinned)
    system, _ = prompted_messages(constitution, "")
    preamble = (system, *(example_turns(constitution) if choice.shown == "examples" else []))
    told = "told with examples" if choice.shown == "examples" else "told"
    return Contestant(
        key=f"{model.key}+{choice.constitution}@{constitution.fingerprint[:8]}{'+examples' * (choice.shown == 'examples')}",
        label=f"{model.label}, {told} to be {constitution.meta.name}",
        model=model.pinned,
        preamble=preamble,
    )
