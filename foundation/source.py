"""What a piece of Python code does, apart from how it is laid out and what it says of itself."""

from __future__ import annotations

import ast


def meaning(source: str) -> str:
    """The syntax tree of a module, as text: without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # Also the text below an attribute, which documents it.
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
