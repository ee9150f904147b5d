"""The same recommender of TFX's own components, as TFX's tutorials put them together.

What benchmarks/speed.py compares with: a CSV with metadata joined to each row, one vocabulary
pass, untransformed examples kept (materialising them costs more than one epoch gains), plain
TFRecords where TFX lets one choose, and the very layers of our MLP below Keras' own `fit`.
"""

from __future__ import annotations

import os
from typing import Any

import keras
import tensorflow as tf
import tensorflow_model_analysis as tfma
import tensorflow_transform as tft
from google.protobuf import text_format
from tensorflow_model_analysis.proto import config_pb2
from tfx import components
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2, pusher_pb2, trainer_pb2, transform_pb2
from tfx_bsl.public import tfxio

from tfx_recommender.pipeline.dag import BEAM_ARGUMENTS
from tfx_recommender.trainer.architectures.mlp.model import MultilayerHead
from tfx_recommender.trainer.architectures.mlp.settings import MultilayerRating
from tfx_recommender.trainer.fitting.head import EntityBatch, Tensor, score_pairs
from tfx_recommender.trainer.fitting.problem import EntityShape

SIDES = {"user": ("user_id", "gender"), "item": ("profile_id", "profile_gender")}


def create_pipeline(
    csv_folder: str, schema_file: str, root: str, serving: str, epochs: int, batch_size: int
) -> Pipeline:
    """Ingest to push.

    Args:
      csv_folder: holds one CSV, with a header.
      schema_file: its schema, so that none has to be inferred.
      root: where artifacts go.
      serving: where a blessed model is pushed to.
      epochs: passes over the train split.
      batch_size: ratings a step.
    """
    splits = [("train", 8), ("eval", 1), ("test", 1)]
    examples = components.CsvExampleGen(
        input_base=csv_folder,
        output_config=example_gen_pb2.Output(
            split_config=example_gen_pb2.SplitConfig(
                splits=[
                    example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=buckets)
                    for name, buckets in splits
                ]
            )
        ),
    )
    rows = examples.outputs["examples"]
    schema = ImportSchemaGen(schema_file=schema_file)
    statistics = components.StatisticsGen(examples=rows, schema=schema.outputs["schema"])
    validator = components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    transform = components.Transform(
        examples=rows,
        schema=schema.outputs["schema"],
        preprocessing_fn="benchmarks.stock.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=[]),
        materialize=False,
        disable_statistics=True,
    )
    trainer = components.Trainer(
        run_fn="benchmarks.stock.run_fn",
        examples=rows,
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
        custom_config={"epochs": epochs, "batch_size": batch_size},
    )
    evaluator = components.Evaluator(
        examples=rows,
        example_splits=["test"],
        model=trainer.outputs["model"],
        eval_config=text_format.Parse(_EVAL_CONFIG, config_pb2.EvalConfig()),
    )
    pusher = components.Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=serving)
        ),
    )
    nodes: list[BaseNode] = [examples, schema, statistics, validator, transform, trainer]
    return Pipeline(
        pipeline_name="stock",
        pipeline_root=root,
        components=[*nodes, evaluator, pusher],
        beam_pipeline_args=BEAM_ARGUMENTS,
    )


_EVAL_CONFIG = """
model_specs { label_key: "rating" signature_name: "serving_default" }
slicing_specs {}
slicing_specs { feature_keys: "gender" }
metrics_specs {
  metrics {
    class_name: "RootMeanSquaredError"
    threshold { value_threshold { upper_bound { value: 9 } } }
  }
  metrics { class_name: "MeanAbsoluteError" }
}
"""
assert tfma.__version__  # registers TFMA's metrics


def preprocessing_fn(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Ids and categories as int64 [B], the rating as float32 [B]."""
    outputs = {"rating": tf.squeeze(_dense(inputs["rating"], 0.0), 1)}
    for name in (name for names in SIDES.values() for name in names):
        outputs[name] = tft.compute_and_apply_vocabulary(
            tf.squeeze(_dense(inputs[name], ""), 1), num_oov_buckets=1, vocab_filename=name
        )
    return outputs


def _dense(value: Tensor | tf.SparseTensor, default: str | float) -> Tensor:
    if not isinstance(value, tf.SparseTensor):
        return value
    return tft.sparse_tensor_to_dense_with_shape(value, [None, 1], default)


class StockModel(keras.Model):
    """Our MLP's layers; ratings in units of nothing, as a tutorial would."""

    def __init__(self, transform: tft.TFTransformOutput) -> None:
        super().__init__()
        user, item = (
            EntityShape(
                side=side,  # type: ignore[arg-type]
                ids=transform.vocabulary_size_by_name(id_name) + 1,
                vocabulary=transform.vocabulary_size_by_name(id_name),
                numeric=0,
                categories={
                    category: (*transform.vocabulary_by_name(category), b""),
                },
            )
            for side, (id_name, category) in SIDES.items()
        )
        self.head = MultilayerHead(MultilayerRating(), user, item)
        self.mean = self.add_weight(name="mean", initializer="zeros")

    def call(self, inputs: dict[str, Tensor], training: bool = False) -> Tensor:
        """Ratings, float32 [B]."""
        user, item = (
            EntityBatch[Tensor](
                index=inputs[id_name],
                numeric=tf.zeros([tf.shape(inputs[id_name])[0], 0]),
                categories={category: inputs[category][:, None]},
            )
            for id_name, category in SIDES.values()
        )
        return self.mean + score_pairs(self.head, user, item, training)


def run_fn(fn_args: Any) -> None:
    """Trains and exports (called by TFX's Trainer)."""
    transform = tft.TFTransformOutput(fn_args.transform_output)
    config = fn_args.custom_config
    layer = transform.transform_features_layer()

    def dataset(files: list[str]) -> tf.data.Dataset:
        raw = fn_args.data_accessor.tf_dataset_factory(
            files,
            tfxio.TensorFlowDatasetOptions(batch_size=config["batch_size"], num_epochs=1),
            transform.raw_metadata.schema,
        )

        def encode(batch: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
            encoded = layer(batch)
            return encoded, encoded.pop("rating")

        return raw.map(encode, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    model = StockModel(transform)
    model.compile(keras.optimizers.Adam(0.003), "mse", steps_per_execution=32)
    train = dataset(fn_args.train_files)
    model.fit(train, epochs=config["epochs"], validation_data=dataset(fn_args.eval_files))

    served = tf.Module()
    # The whole model would be traced once more, by Keras, with floats for ids.
    served.head, served.mean, served.layer = model.head, model.mean, layer
    spec = transform.raw_feature_spec()
    del spec["rating"]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serve(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"rating": model(layer(tf.io.parse_example(examples, spec)))}

    os.makedirs(fn_args.serving_model_dir, exist_ok=True)
    tf.saved_model.save(served, fn_args.serving_model_dir, signatures={"serving_default": serve})
