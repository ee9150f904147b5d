"""DataGate: stops the run if ExampleValidator found anomalies; that node itself never fails."""

import os

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

from tfx_recommender.foundation.errors import BadDataError


@component
def DataGate(  # noqa: N802 - TFX names a component like a class
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
) -> None:
    """Fails if there is an anomaly; every node that trains waits for this one.

    Args:
      anomalies: of all splits, from ExampleValidator.

    Raises:
      BadDataError: there are anomalies; it names each with its feature and splits.
    """
    found: dict[str, list[str]] = {}
    for split in artifact_utils.decode_split_names(anomalies.split_names):
        path = os.path.join(artifact_utils.get_split_uri([anomalies], split), "SchemaDiff.pb")
        with fileio.open(path, "rb") as file:
            diff = anomalies_pb2.Anomalies.FromString(file.read())
        for feature, anomaly in diff.anomaly_info.items():
            line = f"{feature}: {anomaly.short_description}: {anomaly.description}"
            found.setdefault(line.rstrip("."), []).append(split)
        if diff.HasField("dataset_anomaly_info"):
            found.setdefault(diff.dataset_anomaly_info.description, []).append(split)
    if found:
        lines = (f"{line} (in {', '.join(splits)})" for line, splits in sorted(found.items()))
        raise BadDataError(
            f"the data do not fit the config: {'; '.join(lines)}. Correct the data, or the"
            " feature's min, max or values in the config"
        )
