"""The base class of all settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A section of the config: immutable; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
