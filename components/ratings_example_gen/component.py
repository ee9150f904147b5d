"""RatingsExampleGen: from ratings, users and items files to checked, split tf.Examples."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from pydantic import TypeAdapter
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from tfx_recommender.components.ratings_example_gen import dataset, schema
from tfx_recommender.components.ratings_example_gen.config import Data, Split
from tfx_recommender.transform.features import SPLITS

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
    """Reads, checks, joins and splits the ratings.

    Args:
      examples: one tf.Example a rating, splits `train`, `validation`, `test`; its custom
        property `dataset` counts what was read (JSON).
      schema_artifact: the schema that follows from the config.
      data: `config.Data` as JSON, paths absolute.
      split: one of `config.Split` as JSON.
      relevance_threshold: smallest rating of a held-out item that counts for rankings.
      fingerprint: of the files' bytes and of our code; a part of the cache key only.

    Raises:
      BadDataError: anything in the files is not as the config says.
    """
    source = Data.model_validate_json(data)
    rows = dataset.read(source, TypeAdapter(Split).validate_json(split), relevance_threshold)
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    for name in SPLITS:
        _write_examples(rows.split(name), artifact_utils.get_split_uri([examples], name))
    examples.set_string_custom_property(DATASET_PROPERTY, json.dumps(rows.counts()))
    io_utils.write_pbtxt_file(
        os.path.join(schema_artifact.uri, "schema.pbtxt"), schema.schema_of(source.columns())
    )


def _write_examples(rows: pa.Table, directory: str) -> None:
    """Writes plain TFRecords: compressing them costs more than reading them back."""
    batch = pa.RecordBatch.from_arrays(
        [_as_list(rows[name].combine_chunks()) for name in rows.column_names], rows.column_names
    )
    encoded = RecordBatchToExamplesEncoder().encode(batch)
    tf.io.gfile.makedirs(directory)
    path = os.path.join(directory, "data_tfrecord-00000-of-00001")
    with tf.io.TFRecordWriter(path) as writer:
        for example in encoded:
            writer.write(example)


def _as_list(column: pa.Array) -> pa.Array:
    """A column as the encoder takes it: a list of values per row, null where there are none."""
    if pa.types.is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        values = pc.list_flatten(column)
    else:
        lengths = column.is_valid().to_numpy(zero_copy_only=False).astype(np.int32)
        values = column.drop_null()
    if pa.types.is_string(values.type):
        values = values.cast(pa.binary())
    offsets = np.append(0, np.cumsum(lengths)).astype(np.int32)
    # A null offset makes a null list: tf.Example then lacks the feature, as it should.
    missing = np.append(lengths == 0, False)
    return pa.ListArray.from_arrays(pa.array(offsets, mask=missing), values)
