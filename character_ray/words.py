"""How many words a text has, also in scripts that put no spaces between them.

"Arr, so be it." 4   "我是船长。" 4   "ฉันเป็นกัปตันเรือ" 5
"""

import re

__all__ = ["count_words", "spaced"]

# A Chinese or Japanese character counts as a word, as word processors count them.
_CHARACTER = (
    r"[\u2e80-\u2fdf\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    r"\U00020000-\U0003ffff]"
)
# Of Thai, Lao, Burmese and Khmer, whose words cannot be told apart without a dictionary, four signs do: about a word's length.
_SIGNS = r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]{1,4}"
_UNSPACED = re.compile(rf"{_CHARACTER}|{_SIGNS}")


def spaced(text: str) -> str:
    """The text with a space before every word of a script that has none between them; all other text stays as it is."""
    return _UNSPACED.sub(r" \g<0>", text)


def count_words(text: str) -> int:
    """Words between white space; a Chinese or Japanese character is one, and so are four signs of Thai and its like."""
    return len(spaced(text).split())
