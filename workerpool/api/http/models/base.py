"""The manner of all models, and the values that several have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Mode = Literal["drain", "quiesce"]
Status = Literal["draft", "scheduled", "pending", "processing", "completed", "failed", "cancelled"]
Handler = Annotated[str, Field(min_length=1, max_length=200)]
Reason = Annotated[str, Field(max_length=2_000)]
Percentage = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


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
