"""What every part of a report is, and the number with its interval that all are made of."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

__all__ = ["Figure", "Metric", "Part"]


class Part(BaseModel):
    """A part of a report: no unknown keys, and a number that is not finite becomes ``null``."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="null")


class Metric(Part):
    """One number with its interval."""

    value: float | None
    """``None`` when it could not be measured; then ``reason`` says why."""
    low: float | None = None
    """Lower end of the 95 % interval."""
    high: float | None = None
    """Upper end of the 95 % interval."""
    n: int = 0
    """Observations behind the value."""
    method: str = ""
    """How the interval was made, with its seed where it draws."""
    reason: str = ""
    """Why there is no value."""

    @model_validator(mode="after")
    def _check_reason(self) -> "Metric":
        if self.value is None and not self.reason:
            raise ValueError("a metric without a value needs a reason")
        return self


def _with_interval(value: Any) -> Any:
    return {"value": value} if isinstance(value, int | float) else value


Figure = Annotated[Metric, BeforeValidator(_with_interval)]
"""A metric that reports of before it had an interval give as a number alone."""
