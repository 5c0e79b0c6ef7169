"""What a writer fills in: every part of a constitution that is scored, bounded so that any decoder ends."""

from typing import Any

from character_ray.constitution.quality import BOUNDARIES, DIRECTIVES_EACH, EXAMPLES, REFUSALS, VOCABULARY

__all__ = ["draft_schema"]

LINE, PARAGRAPH, WORD = 160, 600, 30  # longest texts, in characters


def draft_schema() -> dict[str, Any]:
    """JSON Schema of a draft, in the subset that structured decoding and OpenAI's strict mode both take."""
    return _object(
        name=_text(60),
        description=_text(LINE),
        identity=_text(PARAGRAPH),
        tone=_text(60),
        formality=_text(60),
        vocabulary=_texts(WORD, VOCABULARY, VOCABULARY + 4),
        personality=_texts(LINE, DIRECTIVES_EACH, DIRECTIVES_EACH + 2),
        behavior=_texts(LINE, DIRECTIVES_EACH, DIRECTIVES_EACH + 2),
        constraints=_texts(LINE, DIRECTIVES_EACH, DIRECTIVES_EACH + 2),
        refusals=_texts(LINE, REFUSALS, REFUSALS + 2),
        boundaries=_texts(LINE, BOUNDARIES, BOUNDARIES + 2),
        examples=_list(_object(prompt=_text(LINE), response=_text(PARAGRAPH)), EXAMPLES, EXAMPLES + 2),
    )


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _text(longest: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 2, "maxLength": longest}


def _texts(longest: int, least: int, most: int) -> dict[str, Any]:
    return _list(_text(longest), least, most)


def _list(items: dict[str, Any], least: int, most: int) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}
