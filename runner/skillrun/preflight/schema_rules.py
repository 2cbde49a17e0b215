"""The cross-field rules that stand in the schemas (``x-rules``), as records, and the override that mends a broken one.

The rules are written once, in the schemas. A broken one refuses the spec when it is resolved, as ``E_RULE_<ID>``; one
that is mended by itself leaves a notice in the plan, and is ``W_RULE_<ID>`` here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Any

from skillrun import bank
from skillrun.errors import UsageError
from skillrun.findings import Finding
from skillrun.overrides import get_dotted, set_dotted
from skillrun.preflight.rule import Rule
from skillrun.rules import apply_rules
from skillrun.spec import ResolvedSpec, SpecBuilder

# What a mending never changes: it would be another run.
FIXED_KEYS = ("task", "model.backbone.type")


def schema_rules() -> list[Rule]:
    """A record for each rule in the schemas of all models."""
    found: dict[str, Rule] = {}
    for model in bank.models():
        for action in bank.actions(model):
            for one in bank.schema(model, action).get("x-rules", ()):
                code = _code(one)
                mended = bool(one.get("clamp"))
                title = str(one["message"]).partition(":")[0].rstrip(".")
                found[code] = Rule(code, "spec", title, waivable=mended, safe=not mended)
    return list(found.values())


def _code(one: Mapping[str, Any]) -> str:
    letter = "W" if one.get("clamp") else "E"
    return f"{letter}_RULE_{str(one['id']).upper().replace('-', '_')}"


def resolve(builder: SpecBuilder) -> ResolvedSpec:
    """`SpecBuilder.resolve`; a broken cross-field rule comes with the override that mends it.

    Raises:
        UsageError: as there.
    """
    try:
        return builder.resolve()
    except UsageError as error:
        rule = next((one for one in builder.schema.get("x-rules", ()) if _code(one) == error.code), None)
        if rule is not None:
            error.fix = mending(rule, builder) or error.fix
        raise


def mended_findings(builder: SpecBuilder, spec: ResolvedSpec) -> list[Finding]:
    """A warning for every value that somebody had given and that a rule changed."""
    found = []
    for one in builder.schema.get("x-rules", ()):
        key = str(one["left"])
        given, origin = builder.latest(key)
        if spec.origins.get(key) == "rule" and origin != "template" and _breaks(one, _merged(builder)):
            now = spec.get(key)
            message = f"{key}={given!r} is taken as {now!r}: {one['message']}"
            found.append(Finding(_code(one), "warning", message, fix=_override(key, now)))
    return found


def mending(rule: Mapping[str, Any], builder: SpecBuilder) -> str:
    """The override that mends a broken rule: of a key that nobody set where there is one; empty where there is none."""
    values, given = _merged(builder), builder.by_user()
    choices = [choice for choice in _choices(rule, values, builder) if choice[0] not in FIXED_KEYS]
    choices.sort(key=lambda choice: any(key == choice[0] or key.startswith(f"{choice[0]}.") for key in given))
    good = [choice for choice in choices if not _breaks(rule, _with(values, *choice))]
    whole = (c for c in good if not any(_breaks(one, _with(values, *c)) for one in builder.schema["x-rules"]))
    chosen = next(whole, good[0] if good else None)
    return _override(*chosen) if chosen else ""


def _choices(rule: Mapping[str, Any], values: Mapping[str, Any], builder: SpecBuilder) -> Iterator[tuple[str, Any]]:
    """Keys and values that may mend a rule: its left side, its right side, a condition of it."""
    key, left = str(rule["left"]), get_dotted(values, str(rule["left"]))
    right = get_dotted(values, str(rule["right"])) if "right" in rule else rule.get("value")
    if rule["op"] in ("le", "ge", "eq"):
        yield key, right
    elif rule["op"] == "in":
        yield from ((key, value) for value in rule["values"])
    elif rule["op"] == "len_eq":
        yield from _lengths(rule, left, right)
    elif rule["op"] == "product_eq" and isinstance(left, Mapping) and len(left) == 2:
        one, other = left
        yield key, {one: left[one], other: right // left[one]} if right % left[one] == 0 else {one: 1, other: right}
    yield key, builder.template(key)
    for condition, allowed in rule.get("when", {}).items():
        node = builder.nodes.get(condition, {})
        others = [False, True] if node.get("type") == "boolean" else node.get("enum", ())
        yield from ((condition, value) for value in others if value not in allowed)


def _lengths(rule: Mapping[str, Any], left: Any, right: Any) -> Iterator[tuple[str, Any]]:
    """The list as long as the number says, or the number as large as the list is long."""
    if isinstance(left, Sequence):
        yield str(rule["left"]), [*left, *[1.0] * right][:right]
    yield str(rule["right"]), len(left) if left is not None else int(rule.get("null_length", 0))


def _merged(builder: SpecBuilder) -> dict[str, Any]:
    """All values as the layers give them, without the rules."""
    values = copy.deepcopy(dict(builder.schema.get("default", {})))
    for key in builder.nodes:
        set_dotted(values, key, builder.latest(key)[0])
    return values


def _with(values: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(dict(values))
    set_dotted(changed, key, copy.deepcopy(value))
    return changed


def _breaks(rule: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    try:
        return bool(apply_rules([rule], values)[0])
    except UsageError:
        return True


def _override(key: str, value: Any) -> str:
    """As it is typed in a shell."""
    return quote(f"{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}")
