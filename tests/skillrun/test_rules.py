"""Cross-field rules: each operator, mending, and that runner and container read the same rules alike."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from skillrun import bank
from skillrun.errors import UsageError
from skillrun.overrides import get_dotted, set_dotted
from skillrun.rules import apply_rules
from visual_changenet.config.rules import RuleError
from visual_changenet.config.rules import apply_rules as container_rules

MODEL = "visual_changenet"


def rule(op: str, **more: Any) -> dict[str, Any]:
    return {"id": "two-words", "op": op, "left": "a.left", "message": "It is wrong.", "fix": "Mend it.", **more}


def holds(one: dict[str, Any], left: Any, right: Any = None) -> bool:
    try:
        mended, _ = apply_rules([one], {"a": {"left": left, "right": right}})
    except UsageError:
        return False
    return not mended


KEY = {"right": "a.right"}
OPERATORS: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {
    "le key": (rule("le", **KEY), [(1, 1), (1, 2)], [(3, 2)]),
    "le value": (rule("le", value=2), [2, 1], [3]),
    "lt": (rule("lt", value=1), [0.5], [1, 1.5]),
    "ge": (rule("ge", value=2), [2, 3], [1]),
    "eq": (rule("eq", value=[4, 8]), [[4, 8]], [[8, 4], [4]]),
    "in": (rule("in", values=[False, "x"]), [False, "x"], [True, None, ""]),
    "even": (rule("even"), [2, 0], [1, 3]),
    "len_eq": (rule("len_eq", **KEY), [([1, 2], 2), ({"a": 0}, 1)], [([1], 2), ({}, 1)]),
    "len_eq of null": (rule("len_eq", null_length=1, **KEY), [(None, 1)], [(None, 2)]),
    "product_eq": (rule("product_eq", **KEY), [({"x": 2, "y": 3}, 6)], [({"x": 2, "y": 2}, 6)]),
    "given": (rule("given"), ["/path", 0], [None, ""]),
}


@pytest.mark.parametrize(("one", "good", "bad"), OPERATORS.values(), ids=OPERATORS.keys())
def test_an_operator_holds_and_is_broken(one: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    for values, wanted in [*((value, True) for value in good), *((value, False) for value in bad)]:
        pair = values if isinstance(values, tuple) else (values,)
        assert holds(one, *pair) is wanted, (one["op"], values)


def test_a_broken_rule_names_key_value_and_fix() -> None:
    with pytest.raises(UsageError, match=r"a\.left=3: It is wrong\.") as caught:
        apply_rules([rule("le", value=2)], {"a": {"left": 3}})
    assert caught.value.code == "E_RULE_TWO_WORDS"
    assert caught.value.fix == "Mend it."


def test_a_mended_value_is_said_only_where_the_user_had_set_it() -> None:
    spec = {"a": {"left": 3, "right": 2}}
    rules = [rule("le", clamp=True, **KEY)]
    assert apply_rules(rules, spec) == ({"a.left": 2}, [])
    mended, notices = apply_rules(rules, spec, frozenset({"a.left"}))
    assert mended == {"a.left": 2}
    assert notices == ["a.left was 3, is now 2: It is wrong."]
    assert spec == {"a": {"left": 3, "right": 2}}


def test_a_rule_applies_only_where_its_condition_holds() -> None:
    one = rule("even", when={"kind": ["grid"], "task": ["classify"]})
    assert apply_rules([one], {"a": {"left": 1}, "kind": "linear", "task": "classify"}) == ({}, [])
    assert apply_rules([one], {"a": {"left": 1}, "kind": "grid"}) == ({}, [])
    with pytest.raises(UsageError):
        apply_rules([one], {"a": {"left": 1}, "kind": "grid", "task": "classify"})


ABSENT = {
    "le": rule("le", **KEY),
    "lt": rule("lt", value=1),
    "ge": rule("ge", value=2),
    "eq": rule("eq", value=[4]),
    "even": rule("even"),
    "len_eq": rule("len_eq", **KEY),
    "product_eq": rule("product_eq", **KEY),
}


@pytest.mark.parametrize("one", ABSENT.values(), ids=ABSENT.keys())
def test_a_rule_whose_keys_are_absent_is_not_looked_at(one: dict[str, Any]) -> None:
    assert apply_rules([one], {"a": {}}) == ({}, [])


RULED = [action for action in bank.actions(MODEL) if bank.schema(MODEL, action)["x-rules"]]
SMALL = st.integers(1, 5)
CHOICES: dict[str, st.SearchStrategy[Any]] = {
    "train.checkpoint_interval": SMALL,
    "train.checkpoint_interval_unit": st.sampled_from(["epoch", "step"]),
    "train.validation_interval": SMALL,
    "train.num_epochs": SMALL,
    "model.backbone.type": st.sampled_from(["fan_tiny_8_p4_hybrid", "fan_large_16_p4_hybrid", "vit_large_nvdinov2"]),
    "model.backbone.feat_downsample": st.sampled_from([False, False, True]),
    "model.backbone.freeze_backbone": st.sampled_from([False, False, True]),
    "model.backbone.pretrained_backbone_path": st.sampled_from([None, "", "/weights.pth"]),
    "model.decode_head.feature_strides": st.sampled_from([[4, 8, 16, 16], [4, 8, 16, 32], [1, 2, 3, 4]]),
    "model.classify.difference_module": st.sampled_from(["learnable", "euclidean"]),
    "model.classify.eval_margin": st.sampled_from([0.3, 0.3, 1, 2.0]),
    "train.classify.loss": st.sampled_from(["ce", "contrastive"]),
    "train.classify.cls_weight": st.sampled_from([[1.0, 2.0], [1.0, 2.0], [1.0]]),
    "dataset.classify.num_classes": st.sampled_from([2, 2, 3]),
    "dataset.classify.input_map": st.sampled_from([None, {"a": 0}, {"a": 0, "b": 1}, {"a": 0, "b": 1, "c": 2, "d": 3}]),
    "dataset.classify.num_input": st.sampled_from([1, 2, 3, 4]),
    "dataset.classify.concat_type": st.sampled_from(["linear", "grid"]),
    "dataset.classify.grid_map.x": st.integers(1, 2),
    "dataset.classify.grid_map.y": st.integers(1, 2),
    "dataset.classify.batch_size": st.sampled_from([1, 2, 8]),
    "dataset.segment.batch_size": st.sampled_from([1, 2, 8]),
    "gen_trt_engine.tensorrt.min_batch_size": SMALL,
    "gen_trt_engine.tensorrt.opt_batch_size": SMALL,
    "gen_trt_engine.tensorrt.max_batch_size": SMALL,
}


@st.composite
def specs(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An action and a spec of it that satisfies its schema: the template with a few ruled keys changed."""
    action = draw(st.sampled_from(RULED))
    values = bank.defaults(MODEL, action)
    known = [key for key in CHOICES if key in bank.keys(MODEL, action)]
    for key in draw(st.lists(st.sampled_from(known), unique=True)):
        set_dotted(values, key, draw(CHOICES[key]))
    return action, values


def runner_outcome(action: str, spec: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    try:
        mended, _ = apply_rules(bank.schema(MODEL, action)["x-rules"], spec)
    except UsageError as error:
        return error.code, {}
    return "", mended


def container_outcome(action: str, spec: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    try:
        mended, _ = container_rules(spec, action)
    except RuleError as error:
        return f"E_RULE_{error.rule_id.upper().replace('-', '_')}", {}
    keys = [key for key in CHOICES if key in bank.keys(MODEL, action)]
    changed = {key: get_dotted(mended, key) for key in keys if get_dotted(mended, key) != get_dotted(spec, key)}
    return "", changed


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(specs())
def test_runner_and_container_judge_every_spec_alike(drawn: tuple[str, dict[str, Any]]) -> None:
    action, spec = drawn
    assert runner_outcome(action, spec) == container_outcome(action, spec)


def test_every_ruled_key_is_drawn_and_every_drawn_value_fits_its_schema() -> None:
    for action in RULED:
        schema = bank.schema(MODEL, action)
        for one in schema["x-rules"]:
            for key in {one["left"], one.get("right"), *one.get("when", {})} - {None, "task"}:
                assert any(name == key or name.startswith(f"{key}.") for name in CHOICES), key


@settings(max_examples=30, deadline=None)
@given(specs())
def test_the_drawn_specs_satisfy_their_schemas(drawn: tuple[str, dict[str, Any]]) -> None:
    action, spec = drawn
    assert [error.message for error in Draft202012Validator(bank.schema(MODEL, action)).iter_errors(spec)] == []


def test_a_mended_value_is_no_part_of_the_rules() -> None:
    """Changing a resolved spec must not change the rules that every later spec of the process is judged by."""
    rules = [rule("eq", value=[4, 8], clamp=True)]
    mended, _ = apply_rules(rules, {"a": {"left": [1, 2]}})
    mended["a.left"].append(16)
    assert rules[0]["value"] == [4, 8]
