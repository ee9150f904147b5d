"""Which part of a pipeline a run executes, and how: for looking into one node."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Part:
    """Which part of a pipeline is run, and how; by default all of it.

    Attributes:
      until: the last node: it, and those that it depends on. "" for all.
      only: the one node to execute; its inputs come from the last run. "" for all.
      inline: whether nodes execute in this process, one after the other.
      profile: the node to profile.
    """

    until: str = ""
    only: str = ""
    inline: bool = False
    profile: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether all nodes are run."""
        return not (self.until or self.only)


WHOLE = Part()
