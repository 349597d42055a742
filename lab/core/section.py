"""The base of every part of an experiment file: strict, frozen, unknown keys refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping in an experiment file. Keys that are Python keywords (`for`) are declared with an alias."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, populate_by_name=False, serialize_by_alias=True
    )
