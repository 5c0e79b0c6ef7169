"""How much a constitution gives training to work with, from 0 to 1, by the seed's five weights.

Graded by depth, not length: what counts is distinct content, so repeating a sentence, a directive or an example adds nothing.
Every lost point comes with its reason and its remedy.
"""

import re
from dataclasses import dataclass

from character_ray.constitution.chat import vocabulary_pattern
from character_ray.constitution.schema import Constitution

__all__ = ["Loss", "Part", "Quality", "score_constitution"]

# What a section needs for full marks.
IDENTITY_WORDS, DIRECTIVES_EACH, REFUSALS, BOUNDARIES, EXAMPLES, VOCABULARY = 30, 3, 2, 2, 4, 6
DIRECTIVE_WORDS, EXAMPLE_WORDS = 3, 20

_STOPWORDS = frozenset(
    "a an and are as at be but by can do does for from has have how if in into is it its like more no not of on or own so than that "
    "the their them then there these they this to up was were what when which who will with would you your yourself".split()
)


@dataclass(frozen=True)
class Loss:
    """Points a part did not get."""

    points: float
    why: str
    remedy: str


@dataclass(frozen=True)
class Part:
    """One of the five graded aspects."""

    name: str
    weight: float
    losses: tuple[Loss, ...]

    @property
    def score(self) -> float:
        """Points it got, at most its weight."""
        return self.weight - sum(loss.points for loss in self.losses)


@dataclass(frozen=True)
class Quality:
    """The score and what it is made of."""

    parts: tuple[Part, ...]

    @property
    def score(self) -> float:
        """Above 0.7 a constitution is well specified, below 0.5 underspecified (seed, section 5.1)."""
        return round(sum(part.score for part in self.parts), 4)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """All lost points, the costliest first."""
        return tuple(sorted((loss for part in self.parts for loss in part.losses), key=lambda loss: -loss.points))


def score_constitution(constitution: Constitution) -> Quality:
    """Score a constitution."""
    return Quality(
        (
            _identity(constitution),
            _directives(constitution),
            _safety(constitution),
            _examples(constitution),
            _voice(constitution),
        )
    )


def _identity(constitution: Constitution) -> Part:
    known = len(_content_words(constitution.persona.identity))
    share = min(known / IDENTITY_WORDS, 1.0)
    return _part(
        "identity",
        0.2,
        [
            (
                0.2,
                share,
                f"persona.identity has {known} distinct content words of the {IDENTITY_WORDS} that tell a character apart",
                "Say where the persona comes from, what it has lived through, what it cares about and how it treats people.",
            )
        ],
    )


def _directives(constitution: Constitution) -> Part:
    directives = constitution.directives
    graded = []
    for name in ("personality", "behavior", "constraints"):
        useful = _distinct(getattr(directives, name), DIRECTIVE_WORDS if name != "personality" else 2)
        graded.append(
            (
                0.1,
                min(useful / DIRECTIVES_EACH, 1.0),
                f"directives.{name} has {useful} distinct, specific lines of {DIRECTIVES_EACH}",
                f"Add lines to directives.{name} that say something the others do not.",
            )
        )
    return _part("directives", 0.3, graded)


def _safety(constitution: Constitution) -> Part:
    refusals = _distinct(constitution.safety.refusals, 4)
    boundaries = _distinct(constitution.safety.boundaries, 2)
    return _part(
        "safety",
        0.2,
        [
            (
                0.1,
                min(refusals / REFUSALS, 1.0),
                f"safety.refusals has {refusals} distinct refusals of {REFUSALS}",
                "Write refusals in the persona's own voice; without them a model breaks character to refuse, or does not refuse.",
            ),
            (
                0.1,
                min(boundaries / BOUNDARIES, 1.0),
                f"safety.boundaries has {boundaries} distinct boundaries of {BOUNDARIES}",
                "Name the topics that need care and how the persona handles each, as 'topic: how'.",
            ),
        ],
    )


def _examples(constitution: Constitution) -> Part:
    pattern = vocabulary_pattern(constitution)
    responses = [example.response for example in constitution.examples]
    useful = _distinct(responses, EXAMPLE_WORDS // 2)
    voiced = _distinct([text for text in responses if pattern and pattern.search(text)], EXAMPLE_WORDS // 2)
    return _part(
        "examples",
        0.2,
        [
            (
                0.12,
                min(useful / EXAMPLES, 1.0),
                f"examples has {useful} distinct, substantial demonstrations of {EXAMPLES}",
                "Add answers to everyday questions: they decide whether a small teacher stays in character.",
            ),
            (
                0.08,
                min(voiced / EXAMPLES, 1.0),
                f"{voiced} demonstrations use a word of persona.voice.vocabulary, of {EXAMPLES}",
                "Let the demonstrations speak in the persona's own words.",
            ),
        ],
    )


def _voice(constitution: Constitution) -> Part:
    voice = constitution.persona.voice
    graded = [
        (
            0.03,
            float(bool(voice.tone.strip())),
            "persona.voice.tone is missing",
            "Name the tone, such as 'gruff but warm'.",
        ),
        (
            0.02,
            float(bool(voice.formality.strip())),
            "persona.voice.formality is missing",
            "Say how formal the language is.",
        ),
        (
            0.05,
            min(len(voice.vocabulary) / VOCABULARY, 1.0),
            f"persona.voice.vocabulary has {len(voice.vocabulary)} words of {VOCABULARY}",
            "List words this persona uses and a plain assistant does not.",
        ),
    ]
    return _part("voice", 0.1, graded)


def _part(name: str, weight: float, graded: list[tuple[float, float, str, str]]) -> Part:
    """A part from (points, share reached, what is missing, remedy) of each thing graded."""
    losses = [
        Loss(round(points * (1 - share), 4), f"{why}.", remedy) for points, share, why, remedy in graded if share < 1
    ]
    return Part(name, weight, tuple(losses))


def _content_words(text: str) -> set[str]:
    return {word for word in re.findall(r"[^\W\d_]{3,}", text.lower()) if word not in _STOPWORDS}


def _distinct(lines: tuple[str, ...] | list[str], least_words: int) -> int:
    """Lines with enough words of which at least half are not in an earlier line."""
    seen: set[str] = set()
    counted = 0
    for line in lines:
        words = _content_words(line)
        if len(line.split()) >= least_words and words and len(words - seen) * 2 >= len(words):
            counted += 1
        seen |= words
    return counted
