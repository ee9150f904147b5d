"""What a run finds outside of its config and needs in its cache keys: data and serving place."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfx_recommender.components.ratings_example_gen.config import Data, Split
from tfx_recommender.components.serving import served_models
from tfx_recommender.components.serving.served_models import ServedModel
from tfx_recommender.foundation.errors import ConfigError
from tfx_recommender.pipeline import fingerprint


@dataclasses.dataclass(frozen=True)
class World:
    """What a run finds; every field ends up in the execution properties of some node.

    Attributes:
      data_fingerprint: of the data files' bytes, our code, the libraries and thread counts.
      served_digest: of the served model's files; "" if nothing is served.
      withdrawn: digests of models that a rollback took out of service.
      destination_state: of the serving place; changes whenever the place does.
      destination_digest: of what is served there, compared with or not; "" if nothing is.
      comparison: the number of this night's comparison with the served model, from 1, as text;
        `comparisons.py` counts.
    """

    data_fingerprint: str = ""
    served_digest: str = ""
    withdrawn: tuple[str, ...] = ()
    destination_state: str = ""
    destination_digest: str = ""
    comparison: str = "1"


def observe(
    data: Data,
    serving_directory: str,
    served: ServedModel | None,
    rebase_baseline: bool,
    threads: int | None = None,
) -> World:
    """Looks at the data files and the serving place.

    Args:
      data: the data files.
      serving_directory: where versions are pushed to.
      served: what is served there; None if nothing.
      rebase_baseline: whether to compare with biases and popularity instead of the served model.
      threads: TensorFlow's in each node, of which results depend; None: they are in each step's own
        cache key.

    Raises:
      BadDataError: a data file cannot be read.
      UserError: the serving place is in a bucket that does not answer or refuses.
    """
    return World(
        data_fingerprint=fingerprint.of_data_and_code(data, threads),
        served_digest=served.digest if served and not rebase_baseline else "",
        withdrawn=tuple(served.record.get("withdrawn", [])) if served else (),
        destination_state=served_models.state(serving_directory),
        destination_digest=served.digest if served else "",
    )


def push_record(data: Data, split: Split) -> dict[str, Any]:
    """What a push writes down for `require_comparable`."""
    return {"feedback": data.feedback, "split": split.model_dump(mode="json")}


def require_comparable(data: Data, split: Split, served: ServedModel) -> None:
    """Two models can be compared only if they learnt the same task and hide the same test rows.

    A model trained under other split settings may have seen today's test rows; one of events
    predicts no ratings, and one of ratings was fitted to other rows. A push record that says
    nothing of this is an older release's, and its model is taken for comparable.

    Raises:
      ConfigError: the served model was trained with another kind of feedback, or another split.
    """
    rebase = (
        "run once with --rebase-baseline to compare with"
        f" {'popularity' if data.events else 'biases and popularity'} instead"
    )
    feedback = served.record.get("feedback")
    if feedback is not None and feedback != data.feedback:
        raise ConfigError(
            f"data: the served model (version {served.version}) was trained with {feedback}"
            f" feedback, the config's is {data.feedback}, so the two cannot be compared; give the"
            f" pipelines different names, or {rebase}"
        )
    before = served.record.get("split")
    now = split.model_dump(mode="json")
    if before is not None and before != now:
        raise ConfigError(
            f"split: the served model (version {served.version}) was trained with {before}, the"
            f" config says {now}, so the two cannot be compared; put the split back, or {rebase}"
        )
