"""Each rule of spec, resume and host is provoked, and goes away where its fix is applied."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from skillrun import bank
from skillrun.data.synth import synth
from skillrun.doctor import Check
from skillrun.errors import PreflightError, UsageError
from skillrun.examine import overrides_in
from skillrun.overrides import set_dotted
from skillrun.plan import Plan
from skillrun.preflight import require_passed, rules, waivable
from skillrun.preflight.facts import Host, measure
from skillrun.preflight.host import GIB, checkpoint_bytes
from skillrun.preflight.rule import Case, look, registered
from skillrun.prepare import Request, prepare, spec_builder
from skillrun.specfile import dump_spec
from visual_changenet.errors import SpecError
from visual_changenet.models.geometry import check_input_size

MODEL, FAN = "visual_changenet", "model.backbone.type=fan_tiny_8_p4_hybrid"
ROOMY = Host(500 * GIB, 64 * GIB, 16 * GIB, True, Check("network", "ok", ""), Check("clock", "ok", ""))


@pytest.fixture
def request_of(workspace: Path) -> Callable[..., Request]:
    """A classify training on a small data set."""
    synth(workspace / "boards", pairs=12, size=32, seed=1)

    def make(*overrides: str, **more: Any) -> Request:
        from skillrun.datasets import DataSources

        sources = DataSources(str(workspace / "boards" / "train"), str(workspace / "boards" / "eval"))
        given = {"automl": False, "backend": "local", "sources": sources, **more}
        return Request(MODEL, "train", overrides=(FAN, *overrides), **given)

    return make


def case_of(action: str = "train", host: Host | None = ROOMY, plan: dict[str, Any] | None = None, **spec: Any) -> Case:
    """A case as the planning makes it, with values of the spec by dotted key (``__`` for the dots)."""
    values = bank.defaults(MODEL, action)
    for key, value in {"model__backbone__type": "fan_tiny_8_p4_hybrid", **spec}.items():
        set_dotted(values, key.replace("__", "."), value)
    task = "segment" if action.startswith("segment") else "classify"
    needed = {"run_id": "r", "run_dir": "/r", "image": "", "argv": (), "results_dir": "/r/results", "backend": "local"}
    made = Plan(model=MODEL, action=action, task=task, spec_text=dump_spec(values), **{**needed, **(plan or {})})
    return Case.of(made, host)


def codes(case: Case) -> set[str]:
    return {finding.code for finding in look(case)}


CPU: dict[str, Any] = {"gpus": "none"}
PROVOKED: dict[str, Case] = {
    "E_MODEL_SIZE": case_of(dataset__classify__image_width=70),
    "E_SPEC_DEVICE": case_of(plan=CPU, train__device="gpu"),
    "W_SPEC_PRECISION": case_of(plan=CPU, train__precision="bf16-mixed"),
    "W_SPEC_MARGIN": case_of(model__classify__eval_margin=0.0),
    "E_HOST_DISK": case_of(host=replace(ROOMY, disk=1 << 20)),
    "W_HOST_DISK": case_of(host=replace(ROOMY, disk=GIB), train__num_epochs=30, train__checkpoint_interval=1),
    "W_HOST_MEMORY": case_of(host=replace(ROOMY, memory=GIB)),
    "E_HOST_SHM": case_of(host=replace(ROOMY, shared_memory=64 << 20), dataset__classify__workers=8),
    "W_HOST_NO_GPU": case_of(
        host=replace(ROOMY, driver=False), plan={"gpus": "2", "backend": "docker", "shm_size": "16g"}
    ),
    "W_HOST_NETWORK_DISK": case_of(host=replace(ROOMY, network=Check("n", "warn", "nfs from far", "--results DIR"))),
    "W_HOST_CLOCK": case_of(host=replace(ROOMY, clock=Check("c", "warn", "it is 1970", "sudo timedatectl"))),
}


def test_a_sound_case_has_no_finding() -> None:
    assert codes(case_of()) == set()
    assert codes(case_of("segment_train")) == set()


@pytest.mark.parametrize("code", PROVOKED)
def test_a_rule_is_provoked_and_its_override_mends_it(code: str) -> None:
    case = PROVOKED[code]
    found = next(finding for finding in look(case) if finding.code == code)
    assert found.fix
    given = overrides_in(found.fix)
    if not given:
        assert found.fix.startswith(("--", "sudo "))
        return
    builder = spec_builder(MODEL, case.plan.action)
    builder.add_overrides(given)
    values = json.loads(json.dumps(dict(case.spec)))
    for key, value in builder.by_user().items():
        set_dotted(values, key, value)
    if code != "W_HOST_MEMORY":  # 1 GiB is too little for the process alone
        assert code not in codes(replace(case, spec=values))


def test_every_rule_of_spec_and_host_is_provoked_here() -> None:
    assert {one.code for one in registered() if one.room != "resume"} == PROVOKED.keys()


def test_records_have_one_code_a_title_and_an_anchor_each() -> None:
    found = rules()
    assert len({one.code for one in found}) == len(found)
    page = Path(__file__).parents[2].joinpath("docs/preflight.md").read_text(encoding="utf-8")
    for one in found:
        assert one.title[-1] != "."
        assert one.severity == ("error" if one.code[0] == "E" else "warning")
        assert one.anchor == f"docs/preflight.md#{one.code.lower()}"
        assert one.code in page, one.code


SIZES = (32, 48, 56, 64, 100, 112, 128, 224, 256, 448)
KINDS = ("fan_tiny_8_p4_hybrid", "vit_large_nvdinov2", "c_radio_v2_vit_base_patch16_224")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("module", "golden"), [("learnable", 1), ("learnable", 2), ("euclidean", 1)])
def test_runner_and_network_accept_the_same_sizes(kind: str, module: str, golden: int) -> None:
    for height, width in itertools.product(SIZES, SIZES):
        given = {"dataset__classify__image_height": height, "dataset__classify__image_width": width}
        shape = {"model__backbone__type": kind, "model__classify__difference_module": module}
        case = case_of(**given, **shape, dataset__classify__num_golden=golden)
        try:
            check_input_size(dict(case.spec), (height, width))
            accepted = True
        except SpecError:
            accepted = False
        assert ("E_MODEL_SIZE" not in codes(case)) is accepted, (height, width)


@pytest.mark.parametrize("lights", [2, 3, 4])
def test_a_fitting_size_is_proposed_for_joined_lights(lights: int) -> None:
    for kind in KINDS:
        given = {"dataset__classify__num_input": lights, "dataset__classify__image_height": 99}
        case = case_of(model__backbone__type=kind, **given)
        found = next(finding for finding in look(case) if finding.code == "E_MODEL_SIZE")
        for text in overrides_in(found.fix):
            key, _, value = text.partition("=")
            set_dotted(dict(case.spec), key, int(value))
        assert "E_MODEL_SIZE" not in codes(case), (kind, found.fix)


BROKEN = {
    "E_RULE_CE_NEEDS_LEARNABLE": ["model.classify.difference_module=euclidean"],
    "E_RULE_CONTRASTIVE_NEEDS_EUCLIDEAN": ["train.classify.loss=contrastive"],
    "E_RULE_MARGIN_IS_PROBABILITY": ["model.classify.eval_margin=2"],
    "E_RULE_CLASS_WEIGHTS": ["dataset.classify.num_classes=3"],
    "E_RULE_LIGHTS": ["dataset.classify.num_input=2"],
    "E_RULE_GRID_EVEN": [
        *("dataset.classify.num_input=3", "dataset.classify.concat_type=grid"),
        *("dataset.classify.input_map={a: 0, b: 1, c: 2}", "dataset.classify.grid_map={x: 3, y: 1}"),
    ],
    "E_RULE_GRID_FULL": [
        *("dataset.classify.num_input=2", "dataset.classify.concat_type=grid"),
        "dataset.classify.input_map={a: 0, b: 1}",
    ],
    "E_RULE_CLASSIFY_BATCH": ["batch_size=1"],
    "E_RULE_FAN_DOWNSAMPLE": ["model.backbone.feat_downsample=true"],
    "E_RULE_FREEZE_NEEDS_WEIGHTS": ["model.backbone.freeze_backbone=true"],
    "E_RULE_SEGMENT_BATCH": ["batch_size=1"],
    "E_RULE_ENGINE_MIN_OPT": ["gen_trt_engine.tensorrt.min_batch_size=9"],
    "E_RULE_ENGINE_OPT_MAX": ["gen_trt_engine.tensorrt.opt_batch_size=999"],
}


def _resolved(action: str, overrides: list[str]) -> None:
    from skillrun.preflight.schema_rules import resolve

    builder = spec_builder(MODEL, action)
    builder.add_overrides(overrides)
    resolve(builder)


@pytest.mark.parametrize("code", BROKEN)
def test_a_broken_rule_of_the_schema_comes_with_overrides_that_mend_it(code: str) -> None:
    action = "gen_trt_engine" if "ENGINE" in code else "segment_train" if "SEGMENT" in code else "train"
    overrides = [*([FAN] if action != "gen_trt_engine" else []), *BROKEN[code]]
    for _ in range(4):
        with pytest.raises(UsageError) as caught:
            _resolved(action, overrides)
        mends = overrides_in(caught.value.fix)
        assert mends, caught.value.fix
        overrides += mends
        if caught.value.code == code:
            break
    else:
        pytest.fail(f"{code} was not provoked")
    for _ in range(4):  # a mended key may need another one
        try:
            return _resolved(action, overrides)
        except UsageError as error:
            assert error.code != code
            overrides += overrides_in(error.fix)
    pytest.fail("the fixes do not come to an end")


def test_every_refusing_rule_of_the_schemas_is_provoked_here() -> None:
    assert {one.code for one in rules() if one.code.startswith("E_RULE_")} == BROKEN.keys()


def test_a_checkpoint_weighs_what_the_estimate_says() -> None:
    measured = {"fan_tiny_8_p4_hybrid": (99.8e6, 370e6), "c_radio_v2_vit_base_patch16_224": (1.3e9, 1.7e9)}
    for kind, (low, high) in measured.items():
        assert low < checkpoint_bytes(case_of(model__backbone__type=kind)) < high


def test_this_host_is_measured(tmp_path: Path) -> None:
    found = measure(case_of(plan={"results_dir": str(tmp_path / "none" / "yet")}).plan)
    assert found.disk is not None
    assert found.memory is not None
    assert min(found.disk, found.memory) > 0
    assert not (tmp_path / "none").exists()


def test_a_launch_is_refused_with_the_number_of_further_errors() -> None:
    case = case_of(plan={"backend": "docker", "shm_size": "1m", "gpus": "none"}, train__device="gpu")
    said: list[str] = []
    with pytest.raises(UsageError, match="1 more") as caught:
        require_passed(
            case_of(plan=CPU, train__device="gpu", dataset__classify__image_width=70).plan, here=True, say=said.append
        )
    assert caught.value.code in ("E_MODEL_SIZE", "E_SPEC_DEVICE")
    assert said == []
    with pytest.raises(PreflightError) as other:
        require_passed(
            case_of(plan={**case.plan.model_dump(include={"backend", "shm_size", "gpus"})}).plan,
            here=True,
            say=said.append,
        )
    assert other.value.code == "E_HOST_SHM"


def test_a_waived_error_is_said_and_passes() -> None:
    said: list[str] = []
    plan = case_of(plan={"backend": "docker", "shm_size": "1m", "waived": ("E_HOST_SHM",)}).plan
    require_passed(plan, here=True, say=said.append)
    assert any(line.startswith("waived: E_HOST_SHM ") for line in said)


def test_only_known_and_harmless_codes_can_be_waived() -> None:
    assert waivable(["w_host_clock", "W_HOST_CLOCK"]) == ("W_HOST_CLOCK",)
    with pytest.raises(UsageError, match="did you mean W_HOST_CLOCK") as caught:
        waivable(["W_HOST_CLOK"])
    assert caught.value.code == "E_WAIVE_UNKNOWN"
    with pytest.raises(UsageError) as refused:
        waivable(["E_MODEL_SIZE"])
    assert refused.value.code == "E_WAIVE_REFUSED"


def test_a_waiver_is_in_the_plan_and_not_in_its_hash(request_of: Callable[..., Request]) -> None:
    plain = prepare(request_of()).plan
    waived = prepare(request_of(waive=["W_HOST_DISK"])).plan
    assert (plain.waived, waived.waived) == ((), ("W_HOST_DISK",))
    assert plain.plan_hash == waived.plan_hash


def test_a_fix_is_an_override_only_where_nothing_has_to_be_filled_in() -> None:
    assert overrides_in("a.b=1 'c={\"x\":1}'") == ("a.b=1", 'c={"x":1}')
    for words in ("skillrun doctor", "a.b=PATH", "a=<choice>", "--gpus none", "a=1, or b=2", "write 'it", "x=FOLDER"):
        assert overrides_in(words) == (), words
