"""Cross-field rules of a schema (``x-rules``), applied to a spec before launch.

A rule is data: an operator, the key on its left, and a value or a key on its right. A rule that may ``clamp`` mends
the left key and says so; any other violation is refused with the rule's own fix. The container applies the same data
to specs that reach it by another way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from skillrun.errors import UsageError
from skillrun.overrides import get_dotted

_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "le": lambda left, right: bool(left <= right),
    "lt": lambda left, right: bool(left < right),
    "ge": lambda left, right: bool(left >= right),
    "eq": lambda left, right: bool(left == right),
    "in": lambda left, right: left in right,
    "even": lambda left, _: left % 2 == 0,
    "len_eq": lambda left, right: len(left) == right,
    "product_eq": lambda left, right: prod(left.values()) == right,
    "given": lambda left, _: left not in (None, ""),
}


def apply_rules(
    rules: Sequence[Mapping[str, Any]], spec: Mapping[str, Any], given: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], list[str]]:
    """Check every rule.

    Args:
        rules: the schema's ``x-rules``.
        spec: nested values that satisfy the schema.
        given: keys that the user set; mending one of these is worth a notice, mending a default is not.

    Returns:
        Mended values by dotted key, and one sentence for each that the user had set.

    Raises:
        UsageError: a rule is broken that only the user can mend; its code is ``E_RULE_<ID>``.
    """
    mended: dict[str, Any] = {}
    notices: list[str] = []
    for rule in rules:
        wanted = _wanted(rule, spec)
        if wanted is None:
            continue
        key, value = str(rule["left"]), get_dotted(spec, str(rule["left"]))
        if not rule.get("clamp"):
            code = f"E_RULE_{str(rule['id']).upper().replace('-', '_')}"
            raise UsageError(code, f"{key}={value!r}: {rule['message']}", str(rule["fix"]))
        mended[key] = copy.deepcopy(wanted)
        if key in given:
            notices.append(f"{key} was {value}, is now {wanted}: {rule['message']}")
    return mended, notices


def _wanted(rule: Mapping[str, Any], spec: Mapping[str, Any]) -> Any:
    """None where the rule holds or does not apply; else what its right side asks for."""
    for key, allowed in rule.get("when", {}).items():
        if get_dotted(spec, key) not in allowed:
            return None
    left = get_dotted(spec, str(rule["left"]))
    right = get_dotted(spec, str(rule["right"])) if "right" in rule else rule.get("value", rule.get("values", True))
    if rule["op"] == "len_eq" and left is None:
        left = [None] * int(rule.get("null_length", 0))
    if right is None or (left is None and rule["op"] not in ("given", "in")):
        return None
    return None if _HOLDS[str(rule["op"])](left, right) else right
