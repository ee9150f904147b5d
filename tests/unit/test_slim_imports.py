"""What a process of a run imports: counted in modules, not in seconds."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tfx_recommender.pipeline.local import slim_imports


def imported(statement: str) -> set[str]:
    """Every module that a fresh process has imported after the statement."""
    code = f"import sys, json; {statement}; print('\\n' + json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_launching_nodes_imports_neither_tensorflow_nor_beam() -> None:
    """What a run that is answered by the cache imports: all of TFX would be 7,000 modules."""
    modules = imported(
        "from tfx_recommender.pipeline import commands; from tfx_recommender.pipeline.local import"
        " slim_imports; slim_imports.launch_only(); from tfx_recommender.pipeline import dag;"
        " from tfx_recommender.pipeline.local import outcome, runner, tuning"
    )
    assert not modules & {"tensorflow", "apache_beam", "keras", "pandas", "scipy", "tfx.v1"}
    assert len(modules) < 1200


@pytest.mark.slow
def test_executors_are_imported_without_clouds_and_notebooks_and_start_no_work() -> None:
    modules = imported(
        "import tfx_recommender.pipeline.local.preload, tensorflow_model_analysis as tfma;"
        " tfma.ExtractEvaluateAndWriteResults; from tensorflow.python.eager import context;"
        " assert not context.context()._initialized"
    )
    assert {"tensorflow", "apache_beam", "tensorflow_model_analysis"} <= modules
    assert not modules & {"IPython", "nltk", "sklearn", "google.cloud.bigquery", "kubernetes"}
    assert "tfx.components.evaluator" not in modules
    assert len(modules) < 6200


def test_what_was_left_out_can_be_imported_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebook.py").write_text("")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "__init__.py").write_text("")
    (tmp_path / "library" / "plots.py").write_text("class Plot: pass")
    monkeypatch.syspath_prepend(tmp_path)
    finder = slim_imports._Finder(frozenset({"notebook"}), frozenset({"library.plots"}))
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    with pytest.raises(ModuleNotFoundError, match="notebook is left out here, see tfx_recommender"):
        importlib.import_module("notebook")
    plots = importlib.import_module("library.plots")

    class Heir(plots.Plot):  # type: ignore[name-defined]
        pass

    with pytest.raises(RuntimeError, match="Heir is but a name"):
        Heir()
    sys.meta_path.remove(finder)
    finder.forget()
    assert importlib.import_module("notebook")
    assert importlib.import_module("library.plots").Plot()
