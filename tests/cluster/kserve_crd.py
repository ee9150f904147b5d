"""KServe's CustomResourceDefinition of InferenceServices, for the API server to judge by.

KSERVE_CRD names KServe's own file, out of a release. It comes with no package that we can lock, so
without it one is made of the Python classes that KServe generates from the same Go types: its
fields, their types and which are required; not its bounds and enumerations. KServe's own asks less
of the first predictor (its webhook asks for the format), and of a canary the container's name.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

import kubernetes.client
import yaml

NAME = "inferenceservices.serving.kserve.io"
_PLAIN = {
    "str": {"type": "string"},
    "int": {"type": "integer", "format": "int64"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
}
_ANYTHING = {"x-kubernetes-preserve-unknown-fields": True}


def definition() -> dict[str, Any]:
    """KServe's own definition if it is given, else ours."""
    if path := os.environ.get("KSERVE_CRD"):
        documents = yaml.safe_load_all(Path(path).read_text(encoding="utf-8"))
        (found,) = (one for one in documents if one and one["metadata"]["name"] == NAME)
        return found
    spec = _schema("V1beta1InferenceServiceSpec", _classes())
    canary = spec["properties"]["canary"]["items"]["properties"]["predictor"]["properties"]
    canary["model"]["required"].append("name")
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "serving.kserve.io",
            "scope": "Namespaced",
            "names": {
                "kind": "InferenceService",
                "listKind": "InferenceServiceList",
                "plural": "inferenceservices",
                "singular": "inferenceservice",
            },
            "versions": [
                {
                    "name": "v1beta1",
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": spec,
                                "status": {"type": "object", **_ANYTHING},
                            },
                        }
                    },
                }
            ],
        },
    }


def _classes() -> Any:
    """The package around them is not run: it would import a web server, which is not installed."""
    found = importlib.util.find_spec("kserve")
    assert found is not None
    sys.modules.setdefault("kserve", importlib.util.module_from_spec(found))
    return importlib.import_module("kserve.models")


def _schema(kind: str, classes: Any, within: tuple[str, ...] = ()) -> dict[str, Any]:
    if inner := re.fullmatch(r"list\[(.*)\]", kind):
        return {"type": "array", "items": _schema(inner[1], classes, within)}
    if inner := re.fullmatch(r"dict\(str, (.*)\)", kind):
        return {"type": "object", "additionalProperties": _schema(inner[1], classes, within)}
    if kind in _PLAIN:
        return _PLAIN[kind]
    model = getattr(classes, kind, None) or getattr(kubernetes.client, kind, None)
    if model is None or not model.openapi_types or kind in within:
        return _ANYTHING
    keys = model.attribute_map
    return {
        "type": "object",
        "properties": {
            key: _schema(model.openapi_types[name], classes, (*within, kind))
            for name, key in keys.items()
        },
        "required": [key for name, key in keys.items() if _required(model, name)],
    }


def _required(model: Any, name: str) -> bool:
    empty = object.__new__(model)
    empty.local_vars_configuration = kubernetes.client.Configuration()
    try:
        setattr(empty, name, None)
    except ValueError:
        return True
    return False
