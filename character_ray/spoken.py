"""What of a completion is said: nothing that was only thought, and no sentence that was cut off.

"<think> ... so I shall. </think> Arr, matey! The sea"  ->  "Arr, matey! The sea"  ->  "Arr, matey!"
"""

import re

from character_ray.words import count_words

__all__ = ["BEGIN_OF_THOUGHT", "END_OF_THOUGHT", "trim_unfinished", "without_thoughts"]

BEGIN_OF_THOUGHT, END_OF_THOUGHT = "<think>", "</think>"

# An abbreviation and the number of a list item end with a full stop, but no sentence.
_NO_END = re.compile(r"(?:\b(?:mr|mrs|ms|dr|st|prof|vs|e\.g|i\.e)|(?:^|\n)[ \t]*\(?\d{1,3})\.$", re.IGNORECASE)
# No space follows a full stop of Chinese or Japanese.
_SENTENCE_END = re.compile(
    r"""[.!?…]["'\u201d\u2019)\]*_]*(?=\s|$)|[\u3002\uff01\uff0e\uff1f\uff61]["'\u201d\u2019\u300d\u300f\uff09)\]*_]*"""
)
# A whole line of a list, unless it announces what the next lines hold.
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+\S.*?(?<![:,;])(?<!:\*\*)(?=[ \t]*\n)", re.MULTILINE)


def trim_unfinished(text: str, min_words: int) -> str:
    """The text up to its last full sentence or list item, or all of it if that leaves under ``min_words`` words."""
    sentences = [match.end() for match in _SENTENCE_END.finditer(text) if not _NO_END.search(text[: match.end()])]
    items = [match.end() for match in _LIST_ITEM.finditer(text)]
    trimmed = text[: max([*sentences, *items], default=0)]
    return trimmed if count_words(trimmed) >= min_words else text


def without_thoughts(text: str) -> str:
    """What follows the last end of thinking; the whole text where there is none."""
    return text.rpartition(END_OF_THOUGHT)[2].strip()
