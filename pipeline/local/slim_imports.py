"""Imports TFX without most of what it would import.

Importing all of TFX (1.21) costs more processor time than everything else in a run that is answered
by the cache. So the process that launches nodes imports neither TensorFlow nor Beam, which TFX
treats as optional, and replaces the executors by names. The process that imports the executors
leaves out what TensorFlow, Beam and TFMA import for clouds, notebooks and metrics that are not used
here. A name that is used all the same fails with an error that names this module.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

from tfx_recommender.pipeline.nodes import NODE_KINDS

# Imported under `try` wherever they are imported at all: their absence is provided for.
_OPTIONAL = frozenset(
    {
        "google.cloud",  # Beam's sources and sinks there; BigQuery's brings all of Jupyter
        "IPython",  # TFDV's displays
        "kubernetes",  # TFX's runners there
        "matplotlib",  # Keras' plots
        "pymongo",  # Beam's sources and sinks there
        "sklearn",  # Keras' wrappers for it
    }
)
# Imported unconditionally: the names must exist, what they name is not needed.
_NAMED = frozenset(
    {
        "docker",  # TFX's containers, for every launcher
        "googleapiclient",  # TFX's telemetry on Google's cloud
        "nltk",  # TFMA's ROUGE metrics
        "rouge_score",  # the same
        "scipy.stats",  # TFMA's confidence intervals
        "tensorflow_model_analysis.notebook",  # TFMA's displays there
    }
)
# What a component's declaration imports for its executor's sake.
_EXECUTORS = frozenset(
    {"keras_tuner", "tensorflow_data_validation"}
    | {
        row.executor.rpartition(".")[0]
        for row in NODE_KINDS.values()
        if row.executor and row.executor.startswith("tfx.")
    }
)


def launch_only() -> None:
    """Prepares a process that declares and launches nodes and never executes one.

    Does nothing where TensorFlow is imported already.
    """
    if "tensorflow" not in sys.modules:
        finder = _Finder(frozenset({"tensorflow", "apache_beam"}), _NAMED | _EXECUTORS)
        sys.meta_path.insert(0, finder)
        components_one_by_one()


@contextlib.contextmanager
def executors() -> Iterator[None]:
    """While executors are imported; the rest can be imported afterwards.

    Does nothing where TensorFlow is imported already.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    finder = _Finder(_OPTIONAL, _NAMED)
    sys.meta_path.insert(0, finder)
    components_one_by_one()
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        finder.forget()


def components_one_by_one() -> None:
    """Lets one component of TFX be imported without all the others.

    Importing `tfx.components` (1.21) imports every one. An empty module in its place lets Python
    find those below it.
    """
    import tfx

    package = types.ModuleType("tfx.components")
    package.__path__ = [os.path.join(folder, "components") for folder in tfx.__path__]
    sys.modules.setdefault(package.__name__, package)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Hides the modules of `absent`; a module of `named` has every name that is looked up in it."""

    def __init__(self, absent: frozenset[str], named: frozenset[str]) -> None:
        self._absent = absent
        self._named = named

    def find_spec(
        self, fullname: str, path: Any, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if _is_below(fullname, self._absent):
            raise ModuleNotFoundError(f"{fullname} is left out here, see {__name__}", name=fullname)
        if _is_below(fullname, self._named):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        module.__getattr__ = lambda name: _name(module, name)  # type: ignore[method-assign]

    def forget(self) -> None:
        """Removes the placeholders, so that the real modules can be imported."""
        for fullname in [name for name in sys.modules if _is_below(name, self._named)]:
            parent, _, name = fullname.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(name, None)
            del sys.modules[fullname]


def _is_below(fullname: str, names: frozenset[str]) -> bool:
    return any(fullname == name or fullname.startswith(f"{name}.") for name in names)


class _NameOnly(type):
    """The type of a placeholder: every attribute is one too, and none can be called."""

    def __getattr__(cls, name: str) -> type:
        return _name(cls, name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{cls.__module__}.{cls.__qualname__} is but a name, see {__name__}")


def _name(owner: Any, name: str) -> type:
    if name.startswith("_"):
        raise AttributeError(name)
    module = getattr(owner, "__module__", owner.__name__)
    found = _NameOnly(name, (), {"__module__": module})
    setattr(owner, name, found)
    return found
