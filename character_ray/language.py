"""In which language a text is, as far as it is plain."""

from functools import cache
from typing import TYPE_CHECKING

from character_ray.words import count_words

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

__all__ = ["is_foreign", "language_of"]

# Dialect and cries ("Arr! Avast!") are no language that the identifier knows: short texts and doubtful ones pass.
FEWEST_WORDS = 6
SURE = 0.95


def is_foreign(text: str, languages: tuple[str, ...]) -> bool:
    """Whether the text is surely in none of the languages.

    Args:
        text: Any text; under six words it never is.
        languages: ISO 639-1 codes; without any, every language will do.
    """
    return bool(languages) and language_of(text) not in ("", *languages)


def language_of(text: str) -> str:
    """ISO 639-1 code of the language that the text is surely in; empty where that is not plain, as with fewer than six words."""
    if count_words(text) < FEWEST_WORDS:
        return ""
    language, probability = _identifier().classify(text)
    return str(language) if probability >= SURE else ""


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
