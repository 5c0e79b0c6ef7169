"""A persona as a document: schema, quality score, and its form as a chat."""

from character_ray.constitution.chat import (
    example_turns,
    names_itself,
    prompted_messages,
    system_prompt,
    teacher_messages,
    vocabulary_pattern,
    words_pattern,
)
from character_ray.constitution.diff import Change, Piece, diff_constitutions
from character_ray.constitution.quality import Loss, Part, Quality, score_constitution
from character_ray.constitution.recorded import check_same_as_recorded, check_unedited
from character_ray.constitution.schema import Constitution, Example, load_constitution, read_constitution, to_yaml

__all__ = [
    "Change",
    "Constitution",
    "Example",
    "Loss",
    "Part",
    "Piece",
    "Quality",
    "check_same_as_recorded",
    "check_unedited",
    "diff_constitutions",
    "example_turns",
    "load_constitution",
    "names_itself",
    "prompted_messages",
    "read_constitution",
    "score_constitution",
    "system_prompt",
    "teacher_messages",
    "to_yaml",
    "vocabulary_pattern",
    "words_pattern",
]
