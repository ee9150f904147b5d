"""`<root>/summary.json`: what became of the last run. This is its contract.

It is written when a run starts and when it ends, whatever ends it, each time as a whole. A run that
cannot read its config, or finds another run at work in the root, does not touch it. Keys:

- `run_id`: when the run started, UTC, ISO 8601.
- `status`: `running` (or killed); `pushed`; `unchanged` (what is served already was trained again);
  `rejected` (no model passed the gates); `partial` (`run --until` or `--only`); `bad_data`;
  `failed`.
- `error`: one line; only of `bad_data` and `failed`.
- `dataset`: rows, users, items and splits, by name; null where ingestion did not finish.
- `models`: architecture -> metrics by name (null: not finite), with `…_standard_error` beside those
  that have one; RMSE by decile; `slices`; `blessed`; `reasons` (a line for each failed gate);
  `comparisons` (a line for each gate with a policy, passed or not). Of each such metric
  `…_improvement` on the baseline (above 0: better), its `…_standard_error`, `…_lower_bound` (which
  decided), `…_rows` and `…_users` that it rests on, and `…_rows_to_tell`: so many test rows would
  tell a difference of the gate's `margin`; where a policy is `not_worse`, `…_anchor_lower_bound`,
  against the last model that was proved better.
- `baseline`: the same metrics of what the models were compared with, and `model`, what that was.
- `champion`: the architecture that was chosen; null: none was blessed.
- `pushed_version`: the version that this run pushed; null: it pushed none.
- `node_seconds`: node -> seconds, in the order in which nodes ended.
- `cached_nodes`: nodes whose result came from an earlier run.

Keys may be added; existing ones keep their names and meanings.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx_recommender.pipeline.local.node_process import Usage

SUMMARY_FILE = "summary.json"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()


@dataclasses.dataclass
class Run:
    """What happened, also when a node failed.

    Attributes:
      run_id: names the run in the metadata store; sorts by time.
      node_seconds: node id -> wall seconds, in the order they ended.
      cached_nodes: nodes whose result came from an earlier run.
      executions: node id -> execution id in the metadata store.
      usage: node id -> what its process has used, of those that executed.
    """

    run_id: str = dataclasses.field(default_factory=_now)
    node_seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    cached_nodes: list[str] = dataclasses.field(default_factory=list)
    executions: dict[str, int] = dataclasses.field(default_factory=dict)
    usage: dict[str, Usage] = dataclasses.field(default_factory=dict)


def without_models(
    run: Run, status: str, error: str | None = None, pushed_version: int | None = None
) -> dict[str, Any]:
    """The summary of a run that has not compared models, or not yet."""
    told = {} if error is None else {"error": error}
    return {
        "run_id": run.run_id,
        "status": status,
        **told,
        "dataset": None,
        "models": {},
        "baseline": None,
        "champion": None,
        "pushed_version": pushed_version,
        "node_seconds": run.node_seconds,
        "cached_nodes": run.cached_nodes,
    }


def write(root: str, summary: dict[str, Any]) -> None:
    """Writes the summary of a pipeline root, all or nothing; call it under the root's lock."""
    path = os.path.join(root, SUMMARY_FILE)
    try:
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(summary, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.part", path)
    except OSError:
        # A full disk: nothing half-written stays.
        if os.path.exists(f"{path}.part"):
            os.unlink(f"{path}.part")
        raise
