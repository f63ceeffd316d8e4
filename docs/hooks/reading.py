"""How the API pages read the source: Equinox modules are dataclasses, an ``Example:`` holds doctests."""

import re
from typing import Any

import griffe

_DATACLASS = griffe.ExprName("dataclasses.dataclass")


class Reading(griffe.Extension):
    """Marks Equinox modules, so that their fields become parameters, and examples, so that they are code."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Walks the package once it is loaded."""
        for found in _all(pkg):
            if found.docstring:
                found.docstring.value = re.sub(r"^Example:$", "Examples:", found.docstring.value, flags=re.M)
            if isinstance(found, griffe.Class) and not found.decorators and _is_module(found):
                found.decorators.append(griffe.Decorator(_DATACLASS, lineno=None, endlineno=None))
                for attribute in found.attributes.values():
                    attribute.value = _default(attribute.value)


def _all(within: Any) -> Any:
    yield within
    for member in within.members.values():
        if not member.is_alias:
            yield from _all(member)


def _default(value: Any) -> Any:
    """What a reader wants to know of ``eqx.field(...)``: the default, if there is one."""
    if not (isinstance(value, griffe.ExprCall) and value.function.canonical_path == "equinox.field"):
        return value
    given = {a.name: a.value for a in value.arguments if isinstance(a, griffe.ExprKeyword)}
    if "default_factory" in given:
        return griffe.ExprCall(given["default_factory"], [])
    return given.get("default")


def _is_module(found: griffe.Class) -> bool:
    """Whether Equinox's module is among its bases."""
    return any(
        getattr(base, "canonical_path", base) == "equinox.Module"
        for parent in (found, *found.mro())
        for base in parent.bases
    )
