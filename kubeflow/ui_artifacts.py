"""What a user of KFP's UI sees of a step: outputs of KFP's own types, which TFX knows nothing of.

The UI draws `system.Metrics` as a table and sets those of several runs side by side; it shows
`system.HTML` as a page. The compiler adds these outputs to a node's component, and the entry point
fills them after the node's executor has run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Names as `Config.metric_name` writes them: those of ranks end with their K.
_METRICS = ("rmse", "hit_rate_at_", "ndcg_at_")


@dataclasses.dataclass(frozen=True)
class UiArtifact:
    """An output that only the UI reads.

    Attributes:
      type: KFP's.
      fill: is given the executor's outputs (key -> TFX artifacts) and the local path that KFP
        uploads from, which does not exist yet; it may write one file there; it returns the
        artifact's metadata. Of `system.Metrics` those are plain numbers, and no file is needed.
    """

    type: str
    fill: Callable[[Mapping[str, Sequence[Any]], str], dict[str, Any]]


def evaluation_metrics(outputs: Mapping[str, Sequence[Any]], path: str) -> dict[str, float]:
    """RMSE, HitRate@K and NDCG@K of candidate and baseline, and `blessed`: 1 or 0.

    A metric without a finite value is left out: JSON knows none.
    """
    # Not above: the compiler reads this module too, and would import TFX.
    from tfx_recommender.components.evaluator import verdict
    from tfx_recommender.components.evaluator.component import BLESSED_PROPERTY
    from tfx_recommender.components.evaluator.predictions import BASELINE, CANDIDATE

    (evaluation,), (blessing,) = outputs["evaluation"], outputs["blessing"]
    found = {"blessed": float(blessing.get_int_custom_property(BLESSED_PROPERTY))}
    for model, prefix in ((CANDIDATE, ""), (BASELINE, "baseline_")):
        for name, value in verdict.metrics_of(evaluation.uri, model).items():
            wanted = name.startswith(_METRICS) and not name.endswith("_bound")
            if wanted and math.isfinite(value):
                found[prefix + name] = value
    return found


# Kind of node -> key of the output -> what it is. A report for the UI is one more row here:
# "report": UiArtifact("system.HTML", …), whose `fill` writes the page to the path.
OF_KIND: dict[str, dict[str, UiArtifact]] = {
    "Evaluator": {"metrics": UiArtifact("system.Metrics", evaluation_metrics)},
}
