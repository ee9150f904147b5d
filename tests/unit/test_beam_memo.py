"""What Beam remembers is what it would have found out, and it asks less often."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options import pipeline_options
from apache_beam.transforms import core

from tfx_recommender.pipeline.local import beam_memo


class Doubling(beam.DoFn):
    def process(self, element: int, window: Any = beam.DoFn.WindowParam) -> Iterator[int]:
        yield 2 * element


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "get_function_args_defaults", core.get_function_args_defaults)
    options = pipeline_options.PipelineOptions
    monkeypatch.setattr(options, "view_as", options.view_as)
    beam_memo.install()


def test_a_methods_parameters_are_those_that_beam_finds(request: pytest.FixtureRequest) -> None:
    dofn = Doubling()
    names = [name for name in dir(dofn) if inspect.ismethod(getattr(dofn, name))]
    asked = [*(getattr(dofn, name) for name in names), len, lambda x, y=3: x, Doubling, str.upper]
    found = [core.get_function_args_defaults(one) for one in asked]
    request.getfixturevalue("remembering")
    for _ in range(2):
        assert [core.get_function_args_defaults(one) for one in asked] == found
    core.get_function_args_defaults(dofn.process)[0].clear()
    assert core.get_function_args_defaults(dofn.process)[0] == ["element", "window"]


def test_options_are_seen_through_every_view_and_shared_by_no_two(remembering: None) -> None:
    arguments = ["--experiments=one", "--no_pipeline_type_check"]
    first, second = (pipeline_options.PipelineOptions(arguments) for _ in range(2))
    first.view_as(pipeline_options.DebugOptions).experiments.append("two")
    first.view_as(pipeline_options.StandardOptions).runner = "FnApiRunner"
    assert first.view_as(pipeline_options.DebugOptions).experiments == ["one", "two"]
    assert first.view_as(pipeline_options.StandardOptions).runner == "FnApiRunner"
    assert not first.view_as(pipeline_options.TypeOptions).pipeline_type_check
    assert second.view_as(pipeline_options.DebugOptions).experiments == ["one"]
    assert second.view_as(pipeline_options.StandardOptions).runner is None


def test_building_a_pipeline_asks_a_tenth_as_often(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    asked = {"signatures": 0, "parsers": 0}
    signature, parser = inspect.signature, pipeline_options._BeamArgumentParser

    def counting_signature(*args: Any, **kwargs: Any) -> Any:
        asked["signatures"] += 1
        return signature(*args, **kwargs)

    def counting_parser(*args: Any, **kwargs: Any) -> Any:
        asked["parsers"] += 1
        return parser(*args, **kwargs)

    monkeypatch.setattr(inspect, "signature", counting_signature)
    monkeypatch.setattr(pipeline_options, "_BeamArgumentParser", counting_parser)

    def build() -> dict[str, int]:
        asked.update(signatures=0, parsers=0)
        pipeline = beam.Pipeline(argv=["--runner=FnApiRunner"])
        rows = pipeline | beam.Create([1, 2, 3])
        for number in range(20):
            rows = rows | f"Double {number}" >> beam.ParDo(Doubling())
        pipeline.to_runner_api()
        return dict(asked)

    before = build()
    request.getfixturevalue("remembering")
    build()
    after = build()
    assert after["signatures"] < before["signatures"] / 10
    assert after["parsers"] < before["parsers"] / 10
