"""From a packaged train schema and what the user said to a search space."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from skillrun.automl.conditions import (
    NotSearchableError,
    order_of_drawing,
    parse_depends,
    parse_math,
    switches,
)
from skillrun.automl.param import Condition, Param, show
from skillrun.automl.ranges import from_schema, from_text
from skillrun.automl.space import Space
from skillrun.automl.wishes import by_key
from skillrun.errors import UsageError
from skillrun.overrides import get_dotted, leaves, set_dotted
from skillrun.rules import apply_rules


def build_space(
    schema: Mapping[str, Any],
    task: str,
    fixed: Mapping[str, Any],
    searches: Sequence[str] = (),
    only: bool = False,
    freeze: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
) -> Space:
    """The search space of one training action.

    Args:
        schema: the packaged schema of the action; its ``$id`` names model and action, whose shorthand keys count.
        task: ``classify`` or ``segment``; keys of the other task are left out.
        fixed: what the user or a parent set, typed, by dotted key; these keys are not searched.
        searches: ``KEY=LOW..HIGH[:log][:step=S]``, ``KEY=a,b,c``, or ``KEY`` for the range of the schema.
        only: search nothing but ``searches``.
        freeze: keys that keep their value, and are not searched.
        base: values that hold where a key is not searched and that trial 0 takes, over those of the template: what a
            spec file says, which often names every key and forbids no search.

    Raises:
        UsageError: a key is unknown or can not be searched, or a range is not inside the schema.
    """
    if only and not searches:
        raise UsageError("E_SEARCH_EMPTY", "--search-only without --search leaves nothing", "--search KEY=LOW..HIGH")
    draft = _Draft(schema, task, dict(fixed), {**(base or {}), **fixed})
    asked = by_key(searches, schema, "--search")
    frozen = by_key(freeze, schema, "--freeze").keys()
    for key in sorted(asked.keys() & frozen):
        raise UsageError("E_SEARCH_CONFLICT", f"--search and --freeze both name {key}", f"leave out --freeze {key}")
    usual = set() if only else set(schema.get("automl_default_parameters", ()))
    for key in draft.nodes:
        if key in frozen:
            draft.freeze(key, searched_else=key in usual)
        elif key in asked or key in usual:
            draft.add(key, asked.get(key))
    return draft.space()


@dataclass
class _Draft:
    """A space in the making."""

    schema: Mapping[str, Any]
    task: str
    fixed: dict[str, Any]
    known: dict[str, Any]
    nodes: dict[str, Mapping[str, Any]] = field(init=False)
    params: dict[str, Param] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = dict(leaves(self.schema))

    def value(self, key: str) -> Any:
        """What a key has where it is not searched."""
        return self.known[key] if key in self.known else get_dotted(self.schema.get("default", {}), key)

    def add(self, key: str, text: str | None) -> None:
        """Search a key: with the range of ``text``, that of the schema where it is empty; None: nobody asked."""
        if key in self.fixed:
            self._leave_out(key, f"set to {show(self.fixed[key])} for this run", said=text is not None)
            return
        other = {"classify": "segment", "segment": "classify"}.get(self.task)
        if other and other in key.split("."):
            self._leave_out(key, f"belongs to task {other}", said=text is not None)
            return
        try:
            param = self._ranged(key, text)
        except NotSearchableError as error:
            if text is not None:
                raise UsageError("E_SEARCH_KEY", f"{key} {error}", f"leave out --search {key}") from error
            self.left_out[key] = str(error)
            return
        if text is not None:
            self.asked.add(key)
        fitted = param.fit(param.default)
        if fitted != param.default:
            self.notices.append(
                f"{key}: {show(param.default)} is outside {param.range_text()}; trial 0 takes {show(fitted)}"
            )
        self.params[key] = dataclasses.replace(param, default=fitted)

    def freeze(self, key: str, *, searched_else: bool) -> None:
        """Keep a key at its value."""
        if searched_else:
            self.left_out[key] = f"frozen at {show(self.value(key))}"
        else:
            self.notices.append(f"{key} is not searched anyway: --freeze changes nothing")

    def _leave_out(self, key: str, reason: str, *, said: bool) -> None:
        self.left_out[key] = reason
        if said:
            self.notices.append(f"{key} is not searched: {reason}")

    def _ranged(self, key: str, text: str | None) -> Param:
        node = self.nodes[key]
        if key in self.schema.get("automl_disabled_parameters", ()) or node.get("automl_enabled") is False:
            raise NotSearchableError("is never searched")
        if "x-path" in node or key == "task":
            raise NotSearchableError("says what is trained, not how, and is never searched")
        param = from_text(key, node, self.value(key), text) if text else from_schema(key, node, self.value(key))
        return dataclasses.replace(param, popular=bool(node.get("popular")))

    def space(self) -> Space:
        """Refuse what breaks a rule, settle conditions in the order of drawing, and freeze the result."""
        self._check_rules()
        order = self._order()
        for key in order:
            try:
                self.params[key] = self._conditioned(self.params[key])
            except NotSearchableError as error:
                del self.params[key]
                self._leave_out(key, str(error), said=key in self.asked)
        kept = tuple(self.params[key] for key in order if key in self.params)
        return Space(kept, dict(self.left_out), tuple(self.notices))

    def _order(self) -> list[str]:
        parents = {}
        for key in list(self.params):
            try:
                needs = (*switches(key, self.nodes), *parse_depends(self.nodes[key].get("depends_on", ""), self.nodes))
            except NotSearchableError as error:
                del self.params[key]
                self._leave_out(key, str(error), said=key in self.asked)
                continue
            parents[key] = tuple(need.key for need in needs)
        order, circle = order_of_drawing(parents)
        for key in circle:
            del self.params[key]
            self._leave_out(key, "depends on itself by way of others", said=key in self.asked)
        return order

    def _conditioned(self, param: Param) -> Param:
        """The key with what it still depends on; its parents are settled already."""
        node = self.nodes[param.key]
        needs = parse_depends(node.get("depends_on", ""), self.nodes)
        when, above = [], []
        for need in (*switches(param.key, self.nodes), *needs):
            if need.values is not None and (condition := self._condition(need.key, need.values)):
                when.append(condition)
        if parse_math(node.get("math_cond", "")).above_parents:
            for need in needs:
                param = self._above(param, need.key)
                above += [need.key] if need.key in self.params else []
        implied = {condition for one in when for condition in self.params[one.key].when}
        needed = tuple(condition for condition in dict.fromkeys(when) if condition not in implied)
        return dataclasses.replace(param, when=needed, above=tuple(above))

    def _condition(self, key: str, values: tuple[Any, ...]) -> Condition | None:
        """None where the parent always has one of the values; NotSearchableError where it never has."""
        parent = self.params.get(key)
        wanted = " or ".join(map(show, values))
        if parent is None:
            now = self.value(key)
            if now not in values:
                raise NotSearchableError(f"needs {key}={wanted}, which is {show(now)}")
            return None
        possible = tuple(value for value in values if parent.fit(value) == value)
        if not possible:
            raise NotSearchableError(f"needs {key}={wanted}, which is not among {parent.range_text()}")
        always = parent.kind == "choice" and set(parent.choices) <= set(possible) and not parent.when
        return None if always else Condition(key, possible)

    def _above(self, param: Param, key: str) -> Param:
        """The key's range, so that a value above that of ``key`` always exists in it."""
        parent = self.params.get(key)
        highest = self.value(key) if parent is None else parent.high
        if param.kind == "choice" or not isinstance(highest, int | float) or (parent and parent.kind == "choice"):
            raise NotSearchableError(f"must exceed {key}, and only ranges can be compared")
        low = dataclasses.replace(param, above=(key,)).floor({key: highest})
        if low >= param.high:
            raise NotSearchableError(
                f"must exceed {key}, which reaches {show(highest)}, but its own range ends at {show(param.high)}"
            )
        if parent:
            return param
        raised = dataclasses.replace(param, low=low)
        return dataclasses.replace(raised, default=raised.fit(param.default))

    def _check_rules(self) -> None:
        """No value that is drawn may break a rule of the schema that the rest of the spec keeps."""
        rules = self.schema.get("x-rules", [])
        base = copy.deepcopy(dict(self.schema.get("default", {})))
        for key, value in self.known.items():
            set_dotted(base, key, value)
        rules = [rule for rule in rules if _broken(rule, base) is None]
        for key, param in list(self.params.items()):
            for value in param.choices or (param.low, param.high):
                spec = copy.deepcopy(base)
                set_dotted(spec, key, value)
                error = next(filter(None, (_broken(rule, spec) for rule in rules)), None)
                if error is None:
                    continue
                if key in self.asked:
                    raise UsageError("E_SEARCH_RANGE", f"--search {key}: {error.message}", error.fix)
                self.params.pop(key, None)
                self.left_out[key] = f"would break a rule: {error.message}"


def _broken(rule: Mapping[str, Any], spec: Mapping[str, Any]) -> UsageError | None:
    try:
        apply_rules([rule], spec)
    except UsageError as error:
        return error
    return None
