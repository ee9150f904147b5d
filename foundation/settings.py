"""What every part of the config has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A part of the config: it never changes, and it refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
