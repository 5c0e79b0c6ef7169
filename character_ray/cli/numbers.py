"""Lists of whole numbers as options."""

import typer

__all__ = ["to_numbers"]


def to_numbers(text: str) -> list[int]:
    """``1,8,64`` as numbers; of an empty text none.

    Raises:
        typer.BadParameter: It is something else.
    """
    try:
        return [int(each) for each in text.split(",")] if text else []
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers such as 1,8,64") from None
