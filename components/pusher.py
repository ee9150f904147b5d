"""Pusher: serves the champion, all or nothing."""

import json

from tfx.dsl.component.experimental.annotations import (
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from tfx_recommender.components.evaluator.component import BLESSED_PROPERTY
from tfx_recommender.components.model_selector import PROVED_PROPERTY
from tfx_recommender.components.serving import served_models
from tfx_recommender.foundation.errors import UserError

PUSHED_PROPERTY = "pushed"
VERSION_PROPERTY = "pushed_version"


@component
def Pusher(  # noqa: N802 - TFX names a component like a class
    model: InputArtifact[standard_artifacts.Model],
    blessing: InputArtifact[standard_artifacts.ModelBlessing],
    pushed: OutputArtifact[standard_artifacts.PushedModel],
    serving_directory: Parameter[str],
    destination_state: Parameter[str],
    record: Parameter[str],
    withdrawn: Parameter[str],
    destination_digest: Parameter[str],
    comparison: Parameter[str],
) -> None:
    """Pushes the blessed champion; without a blessing nothing is touched.

    Nothing is pushed either if the champion is not what was judged any more, or if something else
    is served than when the run began.

    Args:
      model: the champion; its custom property `digest` is that of the model that was judged.
      blessing: ModelSelector's.
      pushed: custom properties `pushed` (1 or 0), `pushed_version`, `digest`.
      serving_directory: where versions are pushed to.
      destination_state: of that place when the run began; a part of the cache key only, so
        that a wiped or rolled back place is never taken for one that was pushed to.
      record: JSON, what the version's push record says besides version and digest.
      withdrawn: JSON list, digests of models that a rollback took out of service; the new push
        record carries them on.
      destination_digest: of what was served when the run began, compared with or not; "" if
        nothing was.
      comparison: the number of this comparison with the served model. Where the champion was not
        proved better, the record carries it on, and the version that was, the anchor.

    Raises:
      UserError: the champion is damaged, or somebody else pushed or rolled back meanwhile.
    """
    pushed.set_int_custom_property(PUSHED_PROPERTY, 0)
    if blessing.get_int_custom_property(BLESSED_PROPERTY) != 1:
        return
    record_of_model = json.loads(record) | {
        "model": model.get_string_custom_property("name"),
        "withdrawn": json.loads(withdrawn),
    }
    served = served_models.served(serving_directory)
    if served and not model.get_int_custom_property(PROVED_PROPERTY):
        record_of_model |= {
            served_models.ANCHOR: served.record.get(served_models.ANCHOR, served.version),
            served_models.COMPARISONS: int(comparison),
        }
    path = path_utils.serving_model_dir(model.uri)

    def load(copy: str) -> None:
        import tensorflow as tf  # not above: the process that launches nodes declares them only

        try:
            tf.saved_model.load(copy)
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"{path}: does not load as a SavedModel ({type(error).__name__}: {reason}), so"
                f" nothing was pushed; remove {model.uri} and run again"
            ) from None

    version = served_models.push(
        path,
        serving_directory,
        record_of_model,
        expected_digest=model.get_string_custom_property("digest"),
        replaces=destination_digest,
        try_out=load,
    )
    pushed.set_int_custom_property(PUSHED_PROPERTY, 1)
    pushed.set_int_custom_property(VERSION_PROPERTY, version.version)
    pushed.set_string_custom_property("digest", version.digest)
