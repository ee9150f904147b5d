"""The best of the blessed models is chosen, whichever way its metric goes, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tfx_recommender.components.serving import served_models

VALUES = {"mf": 0.2, "mlp": 0.3, "hybrid": 0.25}


def select(
    folder: Path,
    blessed: tuple[str, ...],
    lower_is_better: bool,
    proved: tuple[str, ...] = tuple(VALUES),
    **properties: Any,
) -> tuple[str, dict[str, Any]]:
    """The name of the champion and the verdicts of the real executor."""
    from tfx.types import standard_artifacts

    from tfx_recommender.components import model_selector

    inputs: dict[str, Any] = {}
    for name, value in VALUES.items():
        model, blessing = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
        evaluation = standard_artifacts.ModelEvaluation()
        for artifact, kind in ((model, "model"), (evaluation, "evaluation")):
            artifact.uri = str(folder / kind / name)
        path = folder / "model" / name / "Format-Serving"
        path.mkdir(parents=True)
        (path / "saved_model.pb").write_text(name)
        (folder / "evaluation" / name).mkdir(parents=True)
        whole = {"slice": [], "metrics": {"m": value}}
        reasons = [] if name in blessed else ["m is not enough"]
        found: dict[str, Any] = {"reasons": reasons, "candidate": [whole], "baseline": [whole]}
        found["proved_better"] = name in proved
        (folder / "evaluation" / name / "verdict.json").write_text(json.dumps(found))
        blessing.set_int_custom_property("blessed", int(name in blessed))
        parts = {"model": model, "blessing": blessing, "evaluation": evaluation}
        inputs |= {f"{kind}_{name}": [artifact] for kind, artifact in parts.items()}
    champion, blessing = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
    champion.uri, blessing.uri = str(folder / "champion"), str(folder / "blessing")
    (folder / "blessing").mkdir()
    given = {"metric": "m", "lower_is_better": int(lower_is_better)}
    given |= {"served_digest": "", "withdrawn": "[]"} | properties
    model_selector.ModelSelectorExecutor().Do(
        inputs, {"champion": [champion], "blessing": [blessing]}, given
    )
    name = champion.get_string_custom_property("name")
    assert blessing.get_int_custom_property("blessed") == int(bool(name))
    if name:
        is_proved = name in proved or not given["served_digest"]
        assert champion.get_int_custom_property("proved_better") == int(is_proved)
        assert (folder / "champion" / "Format-Serving" / "saved_model.pb").read_text() == name
    return name, json.loads(blessing.get_string_custom_property("verdicts"))


@pytest.mark.parametrize(
    ("blessed", "lower_is_better", "best"),
    [
        (("mf", "mlp", "hybrid"), False, "mlp"),
        (("mf", "mlp", "hybrid"), True, "mf"),
        (("mf", "hybrid"), False, "hybrid"),
        (("mlp", "hybrid"), True, "hybrid"),
        ((), False, ""),
    ],
)
def test_the_best_of_the_blessed_is_chosen(
    tmp_path: Path, blessed: tuple[str, ...], lower_is_better: bool, best: str
) -> None:
    assert select(tmp_path, blessed, lower_is_better)[0] == best


def test_what_is_served_or_was_withdrawn_is_passed_over(tmp_path: Path) -> None:
    for name in VALUES:
        (tmp_path / "by itself" / name).mkdir(parents=True)
        (tmp_path / "by itself" / name / "saved_model.pb").write_text(name)
    digests = {name: served_models.digest(str(tmp_path / "by itself" / name)) for name in VALUES}
    chosen, verdicts = select(
        tmp_path,
        tuple(VALUES),
        False,
        served_digest=digests["mlp"],
        withdrawn=json.dumps([digests["hybrid"]]),
    )
    assert chosen == "mf"
    assert verdicts["mlp"]["reasons"] == ["it is what is served"]
    assert verdicts["hybrid"]["reasons"] == ["it was withdrawn by a rollback"]


@pytest.mark.parametrize("served_digest", ["", "of another"])
def test_m10_the_champion_says_whether_it_was_proved_better(
    tmp_path: Path, served_digest: str
) -> None:
    """`select` asserts it; what beats biases and popularity is the first that is served."""
    assert select(tmp_path, ("mlp",), False, ("mf",), served_digest=served_digest)[0] == "mlp"
