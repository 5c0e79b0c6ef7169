"""What the editor says of a text while it is written."""

from typing import Any

from character_ray.constitution import Constitution, read_constitution, score_constitution
from character_ray.documents import Problem
from character_ray.errors import ConstitutionError, StudioError
from character_ray.prompts import check_no_probe_is_an_example, hidden_trait_probes, persona_topics

__all__ = ["MAX_CHARACTERS", "check_text", "read_text"]

MAX_CHARACTERS = 100_000


def check_text(text: str) -> dict[str, Any]:
    """Problems with line and remedy; when there are none, the score and what would raise it."""
    constitution, problems = read_text(text)
    if constitution is None:
        return {"valid": False, "problems": [vars(problem) for problem in problems]}
    quality = score_constitution(constitution)
    losses = {part.name: [vars(loss) for loss in part.losses] for part in quality.parts}
    return {
        "valid": True,
        "problems": [],
        "persona": constitution.meta.name,
        "slug": constitution.slug,
        "fingerprint": constitution.fingerprint,
        "score": quality.score,
        "verdict": _verdict(quality.score),
        "parts": [
            {
                "name": part.name,
                "score": round(max(part.score, 0.0), 4),
                "weight": part.weight,
                "losses": losses[part.name],
            }
            for part in quality.parts
        ],
    }


def read_text(text: str) -> tuple[Constitution | None, list[Problem]]:
    """The constitution, or its problems, those included that only a run would find.

    Raises:
        StudioError: The text is longer than any constitution.
    """
    if len(text) > MAX_CHARACTERS:
        raise StudioError(f"the text has {len(text):,} characters; a constitution has at most {MAX_CHARACTERS:,} here.")
    constitution, problems = read_constitution(text, "line")
    if constitution is None:
        return None, problems
    probes = hidden_trait_probes(persona_topics(constitution.directives.personality))
    try:
        check_no_probe_is_an_example([example.prompt for example in constitution.examples], probes)
    except ConstitutionError as error:
        return None, [Problem("line", None, "examples", str(error), "")]
    return constitution, []


def _verdict(score: float) -> str:
    return "well specified" if score > 0.7 else "underspecified" if score < 0.5 else "usable"
