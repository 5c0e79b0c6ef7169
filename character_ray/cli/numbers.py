"""Lists of whole numbers as options."""

import typer

__all__ = ["to_numbers"]


def to_numbers(text: str, least: int | None = None) -> list[int]:
    """``1,8,64`` as numbers; of an empty text none.

    Raises:
        typer.BadParameter: It is something else, or a number is below the least.
    """
    try:
        numbers = [int(each) for each in text.split(",")] if text else []
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers such as 1,8,64") from None
    if least is not None and any(number < least for number in numbers):
        raise typer.BadParameter(f"{text!r} holds a number below {least}; name numbers from {least} on, such as 1,8,64")
    return numbers
