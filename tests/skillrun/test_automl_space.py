"""The search space: what is searched for each task, ranges and conditions in all spellings, and that what is drawn
always makes a valid spec."""

from __future__ import annotations

import copy
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skillrun import bank
from skillrun.automl import Param, Space, build_space
from skillrun.automl.conditions import Bounds, NotSearchableError, parse_depends, parse_math
from skillrun.errors import SkillrunError, UsageError
from skillrun.overrides import get_dotted, leaves
from skillrun.prepare import spec_builder

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.ERROR)

MODEL = "visual_changenet"
ACTIONS = {"train": "classify", "segment_train": "segment"}
AUGMENT = "dataset.classify.augmentation_config"
FLIP = f"{AUGMENT}.random_flip"


def space(
    action: str = "train",
    fixed: Mapping[str, Any] | None = None,
    searches: Sequence[str] = (),
    **more: Any,
) -> Space:
    return build_space(bank.schema(MODEL, action), ACTIONS[action], fixed or {}, searches, **more)


def tiny(task: str = "classify", searches: Sequence[str] = (), **nodes: Mapping[str, Any]) -> Space:
    """A space of a schema with these leaves in one section ``a``, all of them searched by default."""
    schema = {
        "properties": {"a": {"type": "object", "properties": nodes}},
        "default": {"a": {name: node.get("default") for name, node in nodes.items()}},
        "automl_default_parameters": [f"a.{name}" for name in nodes if not nodes[name].get("quiet")],
    }
    return build_space(schema, task, {}, searches)


def param(found: Space, key: str) -> Param:
    return next(one for one in found.params if one.key == key)


def draw(found: Space, seed: int, count: int = 1) -> list[dict[str, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [found.suggest(study.ask()) for _ in range(count)]


def spec_of(action: str, values: Mapping[str, Any], fixed: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The spec that a run with these values has; raises where schema or rules refuse it."""
    builder = spec_builder(MODEL, action)
    builder.add("fixed", fixed or {})
    builder.add("trial", values)
    return builder.resolve().values


# What is searched


def test_segment_searches_its_learning_rate_and_no_key_of_classify() -> None:
    keys = {one.key for one in space("segment_train").params}
    assert "train.optim.lr" in keys
    assert not [key for key in keys if "classify" in key]


def test_a_schema_of_both_tasks_is_searched_for_one() -> None:
    node = {"type": "number", "minimum": 0.1, "maximum": 1, "default": 0.5}
    both = {
        "properties": {task: {"type": "object", "properties": {"x": node}} for task in ("classify", "segment")},
        "default": {task: {"x": 0.5} for task in ("classify", "segment")},
        "automl_default_parameters": ["classify.x", "segment.x"],
    }
    found = build_space(both, "segment", {})
    assert [one.key for one in found.params] == ["segment.x"]
    assert found.left_out == {"classify.x": "belongs to task classify"}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_default_parameter_of_the_schema_is_searched_or_has_a_reason_not_to_be(action: str) -> None:
    found = space(action)
    named = {one.key for one in found.params} | found.left_out.keys()
    assert named == set(bank.schema(MODEL, action)["automl_default_parameters"])


@pytest.mark.parametrize("action", ACTIONS)
def test_no_range_is_infinite_and_rates_are_drawn_on_a_log_scale(action: str) -> None:
    found = space(action)
    assert all(math.isfinite(one.low) and math.isfinite(one.high) for one in found.params)
    assert param(found, "train.optim.lr").log and param(found, "train.optim.weight_decay").log


@pytest.mark.parametrize("action", ACTIONS)
def test_trial_zero_is_the_template(action: str) -> None:
    default = bank.schema(MODEL, action)["default"]
    found = space(action)
    assert found.defaults() == {one.key: get_dotted(default, one.key) for one in found.params}
    assert not found.notices


def test_a_spec_file_says_the_values_of_trial_zero_and_forbids_no_search() -> None:
    found = space(base={"train.optim.lr": 3e-4, "train.optim.optim": "sgd"})
    assert found.defaults()["train.optim.lr"] == 3e-4
    assert "train.optim.momentum" in found.defaults()


def test_a_default_outside_a_range_is_moved_in_and_said() -> None:
    found = space(searches=["train.optim.lr=1e-4..1e-3:log"])
    assert found.defaults()["train.optim.lr"] == 1e-4
    assert found.notices == ("train.optim.lr: 1e-05 is outside 0.0001..0.001; trial 0 takes 0.0001",)


def test_a_key_that_the_user_fixed_is_not_searched_and_that_is_said() -> None:
    found = space(fixed={"train.optim.lr": 1e-3}, searches=["learning_rate=1e-5..1e-3"])
    assert found.left_out["train.optim.lr"] == "set to 0.001 for this run"
    assert found.notices == ("train.optim.lr is not searched: set to 0.001 for this run",)
    assert "train.optim.lr" not in found.defaults()


def test_search_only_and_freeze_narrow_the_space() -> None:
    only = space(searches=["lr=1e-5..1e-3:log".replace("lr", "learning_rate"), "eval_margin"], only=True)
    assert {one.key for one in only.params} == {"train.optim.lr", "model.classify.eval_margin"}
    frozen = space(freeze=["eval_margin", "train.optim.lr"])
    assert frozen.left_out["model.classify.eval_margin"] == "frozen at 0.3"
    assert not {"model.classify.eval_margin", "train.optim.lr"} & {one.key for one in frozen.params}


# Dependencies


def test_a_key_whose_condition_can_not_hold_is_left_out_with_the_reason() -> None:
    found = space()
    assert found.left_out["train.optim.momentum"] == "needs train.optim.optim=sgd, which is adamw"
    assert "train.optim.momentum" in {one.key for one in space(fixed={"train.optim.optim": "sgd"}).params}


def test_a_searched_parent_makes_its_child_conditional() -> None:
    found = space(searches=["train.optim.optim=adamw,sgd"])
    assert [one.text() for one in param(found, "train.optim.momentum").when] == ["train.optim.optim=sgd"]
    for values in draw(found, 3, 40):
        assert ("train.optim.momentum" in values) == (values["train.optim.optim"] == "sgd")


def test_a_switch_that_is_off_silences_everything_in_its_section() -> None:
    for values in draw(space(), 5, 60):
        inside = [key for key in values if key.startswith(f"{AUGMENT}.") and key != f"{AUGMENT}.augment"]
        assert bool(inside) == values[f"{AUGMENT}.augment"]
        assert (f"{FLIP}.hflip_probability" in values) == bool(values.get(f"{FLIP}.enable"))


def test_a_switch_that_the_user_turned_off_leaves_its_section_out() -> None:
    found = space(fixed={f"{AUGMENT}.augment": False})
    assert not [one.key for one in found.params if one.key.startswith(AUGMENT)]
    assert found.left_out[f"{FLIP}.hflip_probability"] == f"needs {AUGMENT}.augment=true, which is false"


@pytest.mark.parametrize("text", ["a.on", "a.on=true", "a.on == true", " a.on = true , a.n=2|3", "a.on,a.n"])
def test_published_spellings_of_depends_on_are_read(text: str) -> None:
    nodes = {"a.on": {"type": "boolean"}, "a.n": {"type": "integer"}}
    needs = {need.key: need.values for need in parse_depends(text, nodes)}
    assert needs["a.on"] == (True,)
    assert needs.get("a.n") in (None, (2, 3))


def test_a_circle_and_an_unknown_parent_are_left_out_with_the_reason() -> None:
    yes = {"type": "boolean", "default": True}
    found = tiny(x={**yes, "depends_on": "a.y"}, y={**yes, "depends_on": "a.x"}, z={**yes, "depends_on": "b.gone"})
    assert found.params == ()
    assert found.left_out["a.x"] == "depends on itself by way of others"
    assert found.left_out["a.z"] == "depends on b.gone, a key that this action does not have"


def test_a_value_exceeds_that_of_its_parent() -> None:
    number = {"type": "integer", "minimum": 1, "maximum": 10, "default": 3}
    child = {**number, "maximum": 20, "math_cond": "> depends_on", "depends_on": "a.few", "default": 5}
    found = tiny(many=child, few={**number, "parent_param": "TRUE"})
    assert [one.key for one in found.params] == ["a.few", "a.many"]
    assert all(values["a.many"] > values["a.few"] for values in [*draw(found, 1, 60), *found.grid(40)])
    assert found.size == sum(20 - few for few in range(1, 11))


def test_a_key_that_can_not_exceed_its_parent_is_left_out() -> None:
    number = {"type": "integer", "minimum": 1, "maximum": 10, "default": 3}
    found = tiny(few=number, many={**number, "math_cond": ">depends_on", "depends_on": "a.few"})
    assert found.left_out["a.many"] == "must exceed a.few, which reaches 10, but its own range ends at 10"


# Conditions on values


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("> 0.0", "(0, ∞)"),
        (">0", "(0, ∞)"),
        (">= 1", "[1, ∞)"),
        (">=0", "[0, ∞)"),
        ("<= 1", "(-∞, 1]"),
        ("> 0.0 <= 1.0", "(0, 1]"),
        (">0<=1", "(0, 1]"),
        ("!= 0", "(0, ∞)"),
        ("", "(-∞, ∞)"),
    ],
)
def test_comparisons_of_math_cond_are_read_with_and_without_blanks(text: str, bounds: str) -> None:
    assert parse_math(text).narrow(Bounds(), 0.5).text() == bounds


@pytest.mark.parametrize("text", ["about 3", "> 0 or so", "^ 1", "/ 0", "< depends_on"])
def test_a_math_cond_that_can_not_be_read_leaves_its_key_out(text: str) -> None:
    with pytest.raises(NotSearchableError):
        parse_math(text)
    number = {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5, "math_cond": text}
    assert text in tiny(x=number).left_out["a.x"]


@pytest.mark.parametrize("blank", ["", " "])
def test_multiples_and_powers_are_drawn_as_such(blank: str) -> None:
    number = {"type": "integer", "minimum": 3, "maximum": 100, "default": 32}
    found = tiny(m={**number, "math_cond": f"/{blank}16"}, p={**number, "math_cond": f"^{blank}2"})
    assert param(found, "a.m").count() == 6
    assert param(found, "a.p").choices == (4, 8, 16, 32, 64)
    for values in draw(found, 2, 40):
        assert values["a.m"] % 16 == 0 and type(values["a.m"]) is int
        assert math.log2(values["a.p"]).is_integer()


def test_weights_of_choices_go_with_the_space_and_a_weight_of_zero_removes_a_choice() -> None:
    node = {"type": "string", "enum": ["a", "b", "c"], "default": "a", "option_weights": [1, 0, 3]}
    found = tiny(x=node)
    assert param(found, "a.x").choices == ("a", "c")
    assert found.weights() == {"a.x": (1.0, 3.0)}


def test_an_unbounded_key_gets_a_range_around_its_default_or_a_reason() -> None:
    found = tiny(
        width={"type": "integer", "minimum": 1, "default": 256},
        rate={"type": "number", "minimum": 0, "default": 0.01},
        free={"type": "number", "default": 0.0},
        word={"type": "string", "default": "x"},
    )
    assert (param(found, "a.width").low, param(found, "a.width").high) == (64, 1024)
    assert (param(found, "a.rate").low, param(found, "a.rate").high) == (0.001, 0.1)
    assert all(one.origin == "around the default" and one.log for one in found.params)
    assert "default 0 gives no scale" in found.left_out["a.free"]
    assert found.left_out["a.word"] == "is a text without a list of choices"


# What the user types


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train.optim.lr=1e-6..1e-3:log", ("float", 1e-6, 1e-3, True, None)),
        ("learning_rate=0.001..0.002", ("float", 0.001, 0.002, False, None)),
        ("dataset.classify.fpratio_sampling=.1..0.9:step=0.25", ("float", 0.1, 0.85, False, 0.25)),
        ("batch_size=4..64:log", ("int", 4, 64, True, None)),
        ("batch_size=4..61:step=8", ("int", 4, 60, False, 8)),
    ],
)
def test_ranges_are_read(text: str, expected: tuple[Any, ...]) -> None:
    one = next(one for one in space(searches=[text]).params if one.origin == "--search")
    assert (one.kind, one.low, one.high, one.log, one.step) == expected


def test_choices_are_typed_by_the_schema() -> None:
    found = space(searches=["batch_size=8,16", "train.optim.policy=linear,step", "train.cudnn.benchmark=true,false"])
    assert param(found, "dataset.classify.batch_size").choices == (8, 16)
    assert param(found, "train.optim.policy").choices == ("linear", "step")
    assert param(found, "train.cudnn.benchmark").choices == (True, False)


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("train.optim.lrr=1..2", "E_SPEC_UNKNOWN_KEY", "train.optim.lr"),
        ("train.optim=1..2", "E_SPEC_SECTION", "section"),
        (
            "train.optim.lr=-1..1",
            "E_SEARCH_RANGE",
            "-1..1 is not inside what the schema allows for train.optim.lr: [0, ∞)",
        ),
        ("train.optim.weight_decay=0..1", "E_SEARCH_RANGE", "(0, 1] with math_cond '> 0.0'"),
        ("train.optim.weight_decay=0.1,2", "E_SEARCH_RANGE", "2 is not allowed: (0, 1]"),
        ("train.optim.policy=linear,stepp", "E_SEARCH_RANGE", "stepp is not allowed: one of linear, step"),
        ("train.optim.policy=1..2", "E_SEARCH_SYNTAX", "one of linear, step"),
        ("train.optim.lr=1e-3..1e-5", "E_SEARCH_SYNTAX", "not below"),
        ("train.optim.lr=0..1e-5:log", "E_SEARCH_SYNTAX", "above 0"),
        ("train.optim.lr=1e-5..1e-3:log:step=1", "E_SEARCH_SYNTAX", "exclude"),
        ("train.optim.lr=1e-5..1e-3:logg", "E_SEARCH_SYNTAX", "logg"),
        ("train.optim.lr=1e-5", "E_SEARCH_SYNTAX", "one value"),
        ("train.optim.lr=", "E_SEARCH_SYNTAX", "no range"),
        ("batch_size=1.5..4", "E_SEARCH_SYNTAX", "whole"),
        ("train.optim.betas=1,2", "E_SEARCH_KEY", "never searched"),
        ("pretrained_backbone=a,b", "E_SEARCH_KEY", "never searched"),
        ("dataset.classify.image_ext", "E_SEARCH_KEY", "text without a list of choices"),
        ("eval_margin=0.5..1.5", "E_SEARCH_RANGE", "everything passes"),
        ("train.optim.lr=1e-5..1e400", "E_SEARCH_SYNTAX", "too large"),
        ("train.optim.lr=0..4.466680187773204e+16:step=3", "E_SEARCH_SYNTAX", "too large"),
        ("seed=1..1e300", "E_SEARCH_SYNTAX", "too large"),
        ("train.optim.lr=1e-5,.inf", "E_SEARCH_RANGE", "inf is not allowed"),
        ("batch_size=1..8", "E_SEARCH_RANGE", "at least 2"),
    ],
)
def test_a_search_that_can_not_be_is_refused_with_the_place_and_a_fix(text: str, code: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        space(searches=[text])
    assert caught.value.code == code
    assert says in caught.value.message
    assert caught.value.fix


def test_contradicting_wishes_are_refused() -> None:
    for more in ({"searches": ["seed=1,2", "train.seed=3,4"]}, {"searches": ["seed=1,2"], "freeze": ["train.seed"]}):
        with pytest.raises(UsageError, match=r"train\.seed"):
            space(**more)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--search"):
        space(only=True)


NUMBERS = st.one_of(st.floats().map(str), st.integers().map(str), st.sampled_from(["1e400", ".5", "5.", "-0", "0"]))
RANGES = st.builds("{}..{}{}".format, NUMBERS, NUMBERS, st.sampled_from(["", ":log", ":step=3", ":step=1e-300", "::"]))
TYPED = st.one_of(st.text(max_size=30), RANGES, st.lists(NUMBERS, max_size=4).map(",".join))


@given(text=TYPED, key=st.sampled_from(["train.optim.lr", "batch_size", "train.optim.policy", "seed"]))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=300)
def test_no_text_after_search_breaks_anything_but_a_clear_refusal(text: str, key: str) -> None:
    try:
        found = space(searches=[f"{key}={text}"], only=True)
    except SkillrunError as error:
        assert error.fix
    else:
        spec_of("train", draw(found, 0)[0])


# The space as a whole


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "train.optim.optim": st.sampled_from(["adamw", "adam", "sgd"]),
        f"{AUGMENT}.augment": st.booleans(),
        f"{FLIP}.enable": st.booleans(),
        "train.optim.lr": st.floats(1e-6, 1e-2),
    },
)
EXTRA = st.lists(
    st.sampled_from(
        [
            "train.optim.optim=adamw,sgd",
            "batch_size=2..32:step=2",
            "model.classify.embed_dec",
            "train.optim.weight_decay=1e-4..0.5:log",
            f"{AUGMENT}.random_shift",
            "dataset.classify.fpratio_sampling=0.1,0.5,1",
        ]
    ),
    unique=True,
)


@given(fixed=OPTIONS, searches=EXTRA, seed=st.integers(0, 2**32 - 1))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
def test_what_is_drawn_always_makes_a_valid_spec_with_its_conditions_kept(
    fixed: dict[str, Any], searches: list[str], seed: int
) -> None:
    found = space("train", fixed, searches)
    nodes = dict(leaves(bank.schema(MODEL, "train")))
    for values in [*draw(found, seed, 3), found.defaults(), *found.grid(5)]:
        spec = spec_of("train", values, fixed)
        assert not values.keys() & fixed.keys()
        for key, value in values.items():
            assert get_dotted(spec, key) == value
            assert type(value) is {"integer": int, "boolean": bool, "string": str, "number": float}[nodes[key]["type"]]
            limits = parse_math(nodes[key].get("math_cond", "")).narrow(Bounds(), value)
            assert not isinstance(value, float) or limits.holds(value)
            for need in parse_depends(nodes[key].get("depends_on", ""), nodes):
                assert need.values is None or get_dotted(spec, need.key) in need.values


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_what_is_drawn_for_segment_makes_a_valid_spec(seed: int) -> None:
    for values in draw(space("segment_train"), seed, 3):
        spec_of("segment_train", values)


def test_a_grid_keeps_its_budget_begins_with_the_template_and_repeats_nothing() -> None:
    found = space(searches=["learning_rate=1e-6..1e-3:log"])
    for budget in (1, 2, 7, 20, 200):
        points = found.grid(budget)
        assert points[0] == found.defaults()
        assert len(points) <= budget
        assert len({json.dumps(point, sort_keys=True) for point in points}) == len(points)
    assert len({point["train.optim.lr"] for point in found.grid(20)}) > 2


def test_a_small_space_is_counted_and_its_grid_is_all_of_it() -> None:
    found = space(
        searches=["train.optim.optim=adamw,sgd", "train.optim.momentum=0.5,0.7,0.9", "learning_rate=1e-4,1e-3"],
        only=True,
    )
    assert found.size == 2 * (1 + 3)
    assert len(found.grid(100)) == 8
    assert space().size == math.inf


def test_the_hash_is_that_of_ranges_and_template_values_alone() -> None:
    plain = space()
    assert plain.hash == space(fixed={"train.num_epochs": 3}).hash
    assert plain.hash != space(searches=["learning_rate=1e-6..1e-3:log"]).hash
    assert plain.hash != space(base={"train.optim.lr": 2e-5}).hash
    assert plain.hash == space(searches=["train.optim.lr=1e-6..1e-2:log"]).hash


def test_a_space_survives_json() -> None:
    found = space(searches=["train.optim.optim=adamw,sgd"])
    again = Space.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert again.hash == found.hash
    assert draw(again, 1, 5) == draw(found, 1, 5)


def test_the_table_names_range_scale_condition_and_origin() -> None:
    rows = {row["key"]: row for row in space().describe()}
    assert rows["train.optim.lr"] == {
        "key": "train.optim.lr",
        "kind": "float",
        "range": "1e-06..0.01",
        "scale": "log",
        "trial 0": "1e-05",
        "only with": "",
        "from": "x-search",
    }
    assert rows[f"{FLIP}.hflip_probability"]["only with"] == f"{FLIP}.enable=true"


def test_keys_that_users_set_most_come_first_in_the_table() -> None:
    assert space(searches=["num_epochs=5..20"]).describe()[0]["key"] == "train.num_epochs"


def test_building_a_space_changes_no_schema() -> None:
    before = copy.deepcopy(bank.schema(MODEL, "train"))
    space(fixed={"train.optim.optim": "sgd"}, searches=["batch_size=4..8"])
    assert bank.schema(MODEL, "train") == before


def test_a_space_is_the_same_in_every_process() -> None:
    code = (
        "from skillrun import bank; from skillrun.automl import build_space;"
        "print(build_space(bank.schema('visual_changenet', 'train'), 'classify', {}).hash)"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for hash_seed in ("0", "1", "4711")
    }
    assert hashes == {space().hash}


def test_a_space_needs_no_optuna_to_be_built() -> None:
    code = (
        "import sys; sys.modules['optuna'] = None;"
        "from skillrun import bank; from skillrun.automl import build_space;"
        "found = build_space(bank.schema('visual_changenet', 'train'), 'classify', {}); found.grid(9); found.describe()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
