"""The manner of all models, and the values that several have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool
from pydantic.alias_generators import to_camel


def as_number(value: Any) -> Any:
    """Return *value* where JSON has a number."""
    if isinstance(value, (str, bool)):
        raise ValueError("a number is wanted, not a text and not true or false")
    return value


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("a text is wanted, such as 2026-01-31T09:00:00Z")
    return value


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)  # (the database knows fewer time zones)
    except OverflowError:
        raise ValueError("it is before the year 1, or after the year 9999") from None


#: As JSON has them: what pydantic would make of other values is not taken.
Priority = Annotated[int, Field(ge=-32768, le=32767), BeforeValidator(as_number)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1), BeforeValidator(as_number)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1), BeforeValidator(as_number)]
Version = Annotated[int, Field(ge=0, le=2**53 - 1), BeforeValidator(as_number)]
Seconds = Annotated[float, Field(ge=0.001, le=31_536_000, allow_inf_nan=False), BeforeValidator(as_number)]
Delay = Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False), BeforeValidator(as_number)]
Instant = Annotated[AwareDatetime, BeforeValidator(_text), AfterValidator(_utc)]
Flag = StrictBool
Mode = Literal["drain", "quiesce"]
Status = Literal["draft", "scheduled", "pending", "processing", "completed", "failed", "cancelled"]
Handler = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(max_length=2_000)]
Percentage = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), BeforeValidator(as_number)]


class Model(BaseModel):
    """Something that is read or written; unknown fields are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        str_strip_whitespace=False,
        from_attributes=True,
    )


class Shown(Model):
    """Something that is only written."""

    model_config = ConfigDict(extra="ignore")
