"""RatingsExampleGen: from ratings, users and items files to checked, split tf.Examples."""

import json
import os

from pydantic import TypeAdapter
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

from tfx_recommender.components.ratings_example_gen import schema
from tfx_recommender.components.ratings_example_gen.config import Data, Split
from tfx_recommender.transform.features import ENTITIES, SPLITS, TRAIN_ENTITIES

DATASET_PROPERTY = "dataset"


@component
def RatingsExampleGen(  # noqa: N802 - TFX names a component like a class
    examples: OutputArtifact[standard_artifacts.Examples],
    schema_artifact: OutputArtifact[standard_artifacts.Schema],
    data: Parameter[str],
    split: Parameter[str],
    relevance_threshold: Parameter[float],
    fingerprint: Parameter[str],
) -> None:
    """Reads, checks, joins and splits the ratings, or events.

    Args:
      examples: one tf.Example a rating, splits `train`, `validation`, `test`, and the same as
        `column_files`; splits `train_entities` and `entities`: the rows of train, and of all
        three, in which a user or an item appears first. Its custom property `dataset` counts what
        was read (JSON).
      schema_artifact: the schema that follows from the config.
      data: `config.Data.to_json()`, paths absolute.
      split: one of `config.Split` as JSON.
      relevance_threshold: smallest rating (of events: strength) of a held-out item that counts
        for rankings.
      fingerprint: of the files' bytes (see `source_file`), then of our code: a part of the cache
        key. What is read must be what it says; "": whatever is there is read.

    Raises:
      BadDataError: anything in the files is not as the config says, or they changed since the
        fingerprint was taken.
    """
    # Not above: the process that launches nodes declares them only.
    from tfx_recommender.components.ratings_example_gen import dataset, example_file

    source = Data.from_json(data)
    how = TypeAdapter(Split).validate_json(split)
    rows = dataset.read(source, how, relevance_threshold, fingerprint)
    names = [*SPLITS, TRAIN_ENTITIES, ENTITIES]
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    examples.split_names = artifact_utils.encode_split_names(names)
    paths = {}
    for name in names:
        folder = artifact_utils.get_split_uri([examples], name)
        paths[name] = os.path.join(folder, "data_tfrecord-00000-of-00001")
    example_file.write(rows, paths)
    examples.set_string_custom_property(DATASET_PROPERTY, json.dumps(rows.counts()))
    io_utils.write_pbtxt_file(
        os.path.join(schema_artifact.uri, "schema.pbtxt"), schema.schema_of(source.columns())
    )
