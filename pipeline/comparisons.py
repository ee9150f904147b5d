"""How often nights were compared with what is served: each time asks for more confidence.

A night is its config and data: the same run again, after a crash or from the cache, is the same
comparison, and has the same number.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os

from tfx_recommender.components.serving.served_models import COMPARISONS, ServedModel
from tfx_recommender.foundation.errors import UserError
from tfx_recommender.pipeline.settings.config import Config

FILE = "comparisons.json"


def number(root: str, config: Config, served: ServedModel | None, data_fingerprint: str) -> int:
    """The number of this night's comparison, from 1; writes it down in the pipeline root.

    `comparisons.json`: digest of the served model ("" if none) -> its nights, oldest first. A root
    that lost the file begins anew.

    Args:
      root: the pipeline root, whose lock the caller holds.
      config: the night's settings.
      served: what candidates are compared with; None: biases and popularity.
      data_fingerprint: of the data, the code and all else that results depend on.

    Raises:
      UserError: the file cannot be read.
    """
    path = os.path.join(root, FILE)
    nights = _read(path)
    known = nights.setdefault(served.digest if served else "", [])
    night = _night(config, data_fingerprint)
    if night not in known:
        known.append(night)
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(nights, file, indent=1)
        os.replace(f"{path}.part", path)
    return _before(served) + known.index(night) + 1


def number_by_date(served: ServedModel | None, now: datetime.datetime) -> int:
    """The same where no root remembers: a comparison for each day since the push, and one today."""
    if served is None or "pushed_at" not in served.record:
        return _before(served) + 1
    pushed = datetime.datetime.fromisoformat(served.record["pushed_at"])
    return _before(served) + max(0, (now - pushed).days) + 1


def _before(served: ServedModel | None) -> int:
    """Those that were made before the served version appeared, which proved nothing new."""
    return int(served.record.get(COMPARISONS, 0)) if served else 0


def _night(config: Config, data_fingerprint: str) -> str:
    """What tells two nights apart; where a run keeps its files does not."""
    settings = config.model_dump(mode="json", include={*_SETTINGS})
    text = json.dumps([data_fingerprint, settings], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_SETTINGS = ("split", "vocabulary", "models", "evaluation", "warm_start", "seed")


def _read(path: str) -> dict[str, list[str]]:
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            nights = json.load(file)
        if not all(isinstance(known, list) for known in nights.values()):
            raise ValueError("no lists of nights")
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: is not what a run wrote; remove it, and comparisons are counted anew"
        ) from error
    return nights
