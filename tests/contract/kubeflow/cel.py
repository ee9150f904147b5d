"""As much of CEL as our admission policies use, so that pods can be held against them anywhere.

Kubernetes' API server is the judge; this is for where none is at hand. A field that a pod has not
is an error, as there, unless it is asked for with `.?`.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable
from typing import Any

_TOKEN = re.compile(r"""\s*("[^"]*"|\d+|[A-Za-z_]\w*|\.\?|&&|\|\||==|!=|[][(){}.,!])""")
_MISSING = object()

Expression = Callable[[dict[str, Any]], Any]


@dataclasses.dataclass(frozen=True)
class _Optional:
    value: Any


def evaluate(text: str, names: dict[str, Any]) -> Any:
    """The value of an expression.

    Raises:
      KeyError: it asks for a field that is not there.
      ValueError: it uses what this does not know.
    """
    return _Parser(text).whole()(names)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        place = 0
        while place < len(text.rstrip()):
            match = _TOKEN.match(text, place)
            if match is None:
                raise ValueError(f"no CEL that is known here: {text[place : place + 20]!r}")
            self.tokens.append(match[1])
            place = match.end()
        self.tokens.append("")

    def whole(self) -> Expression:
        found = self.any_of()
        self.take("")
        return found

    def take(self, *expected: str) -> str:
        if expected and self.tokens[0] not in expected:
            raise ValueError(f"{self.tokens[0]!r} stands where {expected} was expected")
        return self.tokens.pop(0)

    def any_of(self) -> Expression:
        parts = [self.all_of()]
        while self.tokens[0] == "||":
            self.take()
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else lambda names: any(p(names) for p in parts)

    def all_of(self) -> Expression:
        parts = [self.relation()]
        while self.tokens[0] == "&&":
            self.take()
            parts.append(self.relation())
        return parts[0] if len(parts) == 1 else lambda names: all(p(names) for p in parts)

    def relation(self) -> Expression:
        left = self.unary()
        relations = {"==": operator.eq, "!=": operator.ne, "in": lambda a, b: a in b}
        if self.tokens[0] not in relations:
            return left
        relation, right = relations[self.take()], self.unary()
        return lambda names: relation(left(names), right(names))

    def unary(self) -> Expression:
        if self.tokens[0] == "!":
            self.take()
            inner = self.unary()
            return lambda names: not inner(names)
        return self.member()

    def member(self) -> Expression:
        found = self.primary()
        while self.tokens[0] in (".", ".?"):
            optional, name = self.take() == ".?", self.take()
            if self.tokens[0] == "(":
                found = self.call(found, name)
            else:
                found = self.field(found, name, optional)
        return found

    def field(self, target: Expression, name: str, optional: bool) -> Expression:
        def get(names: dict[str, Any]) -> Any:
            value = target(names)
            if isinstance(value, _Optional):
                return _Optional(
                    _MISSING if value.value is _MISSING else value.value.get(name, _MISSING)
                )
            return _Optional(value.get(name, _MISSING)) if optional else value[name]

        return get

    def call(self, target: Expression, name: str) -> Expression:
        self.take("(")
        if name in ("exists", "all"):
            variable = self.take()
            self.take(",")
            test = self.any_of()
            self.take(")")
            over = any if name == "exists" else all
            return lambda names: over(test(names | {variable: one}) for one in target(names))
        if name == "size":
            self.take(")")
            return lambda names: len(target(names))
        if name != "orValue":
            raise ValueError(f"no function that is known here: {name}")
        default = self.any_of()
        self.take(")")

        def value(names: dict[str, Any]) -> Any:
            found = target(names).value
            return default(names) if found is _MISSING else found

        return value

    def primary(self) -> Expression:
        token = self.take()
        if token == "(":
            found = self.any_of()
            self.take(")")
            return found
        if token in ("[", "{"):
            self.take({"[": "]", "{": "}"}[token])
            empty: Any = [] if token == "[" else {}
            return lambda names: empty
        if token in ("true", "false"):
            return lambda names: token == "true"
        if token[:1] == '"':
            return lambda names: token[1:-1]
        if token.isdigit():
            return lambda names: int(token)
        return lambda names: names[token]
