"""The schema of the examples: from the config, never inferred from the data at hand."""

from __future__ import annotations

from tensorflow_metadata.proto.v0 import schema_pb2

from tfx_recommender.transform.features import (
    ITEM_ID,
    TIMESTAMP,
    USER_ID,
    WEIGHTS,
    Columns,
    Feature,
)


def schema_of(columns: Columns) -> schema_pb2.Schema:
    """Describes every column: type, presence, range or domain.

    Ids are strings in every row; `rating` a float in its range, or `strength` a finite one from
    0; numeric features and categories may be missing, but not in every row. Weights are in the
    splits of entities alone, which are those that StatisticsGen and Transform read.
    """
    schema = schema_pb2.Schema()
    for name in (USER_ID, ITEM_ID):
        _required(schema, name, schema_pb2.BYTES)
    domain = _required(schema, columns.value, schema_pb2.FLOAT).float_domain
    domain.disallow_nan = True
    if columns.rating_range is not None:
        domain.min, domain.max = columns.rating_range
    else:
        domain.min, domain.disallow_inf = 0, True
    if columns.has_timestamp:
        _required(schema, TIMESTAMP, schema_pb2.INT)
    for name in WEIGHTS:
        _required(schema, name, schema_pb2.INT)
    for feature in columns.features:
        _add_feature(schema, feature)
    return schema


def _required(
    schema: schema_pb2.Schema, name: str, kind: schema_pb2.FeatureType
) -> schema_pb2.Feature:
    added = schema.feature.add(name=name, type=kind)
    added.presence.min_fraction = 1.0
    added.presence.min_count = 1
    added.shape.dim.add(size=1)
    return added


def _add_feature(schema: schema_pb2.Schema, feature: Feature) -> None:
    kind = schema_pb2.FLOAT if feature.kind == "numeric" else schema_pb2.BYTES
    added = schema.feature.add(name=feature.name, type=kind)
    added.presence.min_count = 1
    added.value_count.min = 1
    if feature.kind != "categories":
        added.value_count.max = 1
    if feature.minimum is not None:
        added.float_domain.min = feature.minimum
    if feature.maximum is not None:
        added.float_domain.max = feature.maximum
    if feature.values:
        added.string_domain.name = feature.name
        added.string_domain.value.extend(feature.values)
