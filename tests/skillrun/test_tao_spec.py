"""The spec for NVIDIA's container: its keys and types, what is said about it, and what is refused."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from skillrun import bank
from skillrun.errors import UsageError
from skillrun.overrides import flatten, get_dotted, leaves
from skillrun.spec import SpecBuilder
from skillrun.specfile import dump_spec
from skillrun.tao.spec import LATER_KEYS, tao_spec

MODEL = "visual_changenet"
CSV = "/data/train set/pairs.csv"
REALISTIC: dict[str, list[str]] = {
    "train": [
        f"dataset.classify.train_dataset.csv_path={CSV}",
        "dataset.classify.train_dataset.images_dir=/data/Läufe, 'neu'/images",
        f"dataset.classify.validation_dataset.csv_path={CSV}",
        "dataset.classify.num_input=4",
        "dataset.classify.input_map={LowAngleLight: 0, SolderLight: 1, UniformLight: 2, WhiteLight: 3}",
        "dataset.classify.concat_type=grid",
        "train.num_epochs=7",
        "train.optim.lr=5e-4",
        "train.optim.betas=[0.8, 0.99]",
        "train.num_gpus=2",
        "wandb.enable=true",
    ],
    "evaluate": ["evaluate.checkpoint=/results/train/model_epoch_003_step_00040.pth", "evaluate.batch_size=4"],
    "inference": ["inference.checkpoint=/results/train/last.pth", "dataset.classify.image_ext=.png"],
    "export": [
        "export.checkpoint=/results/a.pth",
        "dataset.classify.num_input=2",
        "dataset.classify.input_map={A: 0, B: 1}",
    ],
    "quantize": ["quantize.model_path=/results/a.pth", "quantize.mode=static_ptq"],
    "segment_train": [
        "dataset.segment.root_dir=/data/LEVIR",
        "dataset.segment.data_name=LEVIR-CD",
        "train.segment.loss=mmiou",
        "train.tensorboard.enabled=true",
        "model.backbone.type=fan_small_12_p4_hybrid",
        "train.precision=bf16-mixed",
    ],
    "segment_evaluate": ["evaluate.checkpoint=/r/a.pth", "dataset.segment.num_classes=3"],
    "segment_inference": [
        "inference.checkpoint=/r/a.pth",
        "dataset.segment.color_map={'0': [255, 255, 255], '1': [0, 0, 0]}",
    ],
    "segment_export": ["export.checkpoint=/r/a.pth", "export.onnx_file=/results/export/x.onnx"],
    "segment_quantize": ["quantize.model_path=/r/a.pth"],
}
ACTIONS = tuple(REALISTIC)


def resolved(action: str, *overrides: str) -> dict[str, Any]:
    builder = SpecBuilder(action, bank.schema(MODEL, action))
    builder.add_overrides(["results_dir=/results", *overrides])
    return builder.resolve().values


def written(action: str, *overrides: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    return tao_spec(resolved(action, *overrides), bank.schema(MODEL, action))


def nodes(action: str) -> dict[str, Mapping[str, Any]]:
    return dict(leaves(bank.schema(MODEL, action)))


def plain(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from plain(item)
    elif isinstance(value, list):
        for item in value:
            yield from plain(item)
    else:
        yield value


def test_all_actions_of_the_train_container_are_covered() -> None:
    contracts = bank.skill_info(MODEL)["actions"]
    assert set(ACTIONS) == {name for name, contract in contracts.items() if contract["container"] == "train"}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("realistic", [False, True], ids=["template", "realistic"])
def test_no_key_is_skillruns_own_and_all_values_are_plain_yaml(action: str, realistic: bool) -> None:
    spec, _ = written(action, *(REALISTIC[action] if realistic else []))
    own = {key for key, node in nodes(action).items() if node.get("x-skillrun-only")}
    assert own and not own & flatten(spec, set(nodes(action))).keys()
    assert {type(value) for value in plain(spec)} <= {str, int, float, bool, type(None)}
    assert yaml.safe_load(dump_spec(spec)) == spec
    assert all(section != {} for section in spec.values())


@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_else_of_the_spec_is_lost_or_changed_without_a_notice(action: str) -> None:
    values = resolved(action, *REALISTIC[action])
    spec, notices = tao_spec(values, bank.schema(MODEL, action))
    for key, node in nodes(action).items():
        before, after = get_dotted(values, key), get_dotted(spec, key)
        silent = key.startswith("wandb.") or key in LATER_KEYS or before in (None, "")
        if node.get("x-skillrun-only"):
            changed = (before or None) != (node.get("default") or None)
        else:
            changed = before != after and not silent
        assert not changed or any(key in notice for notice in notices), key


def test_whole_numbers_lose_their_decimal_point_because_the_published_class_refuses_it() -> None:
    values = resolved("train")
    values["train"]["num_epochs"] = 8.0
    values["train"]["gpu_ids"] = [0.0]
    spec, _ = tao_spec(values, bank.schema(MODEL, "train"))
    assert json.dumps([spec["train"]["num_epochs"], spec["train"]["gpu_ids"]]) == "[8, [0]]"


def test_texts_are_never_null_and_names_in_tables_are_texts() -> None:
    values = resolved("segment_inference", "inference.checkpoint=/r/a.pth")
    values["encryption_key"] = None
    values["dataset"]["segment"]["color_map"] = {0: [255, 255, 255]}
    spec, _ = tao_spec(values, bank.schema(MODEL, "segment_inference"))
    assert spec["encryption_key"] == ""
    assert spec["dataset"]["segment"]["color_map"] == {"0": [255, 255, 255]}
    nulls = [key for key, value in flatten(spec, set(nodes("segment_inference"))).items() if value is None]
    assert nulls == []


def test_a_dropped_key_is_said_only_where_its_value_was_chosen() -> None:
    _, notices = written("train")
    assert not [notice for notice in notices if "skillrun's own" in notice]
    _, notices = written("train", "dataset.classify.align=translation", "train.max_minutes=5")
    assert "dataset.classify.align=translation is skillrun's own: NVIDIA's container runs without it" in notices
    assert len([notice for notice in notices if "skillrun's own" in notice]) == 2


def test_keys_that_the_first_releases_do_not_know_are_left_out_at_their_default() -> None:
    spec, _ = written("train", "model.decode_head.use_summary_token=false")
    assert "num_golden" not in spec["dataset"]["classify"]
    assert "use_summary_token" not in spec["model"]["decode_head"]
    assert spec["wandb"] == {"enable": False}
    spec, _ = written("train", "dataset.classify.num_golden=3", "wandb.enable=true", "wandb.group=line 4")
    assert spec["dataset"]["classify"]["num_golden"] == 3
    assert spec["wandb"]["group"] == "line 4" and "run_id" not in spec["wandb"]


def test_gpu_count_and_ids_are_made_to_agree_as_the_published_launcher_would() -> None:
    spec, notices = written("train", "train.num_gpus=2")
    assert (spec["train"]["num_gpus"], spec["train"]["gpu_ids"]) == (2, [0, 1])
    assert any("train.num_gpus=2" in notice for notice in notices)


def test_the_batch_size_of_an_evaluation_reaches_the_section_that_is_read() -> None:
    spec, notices = written("evaluate", "evaluate.checkpoint=/a.pth", "evaluate.batch_size=3")
    assert spec["dataset"]["classify"]["batch_size"] == 3
    assert any("dataset.classify.batch_size" in notice for notice in notices)
    spec, notices = written("segment_inference", "inference.checkpoint=/a.pth", "dataset.segment.batch_size=5")
    assert spec["inference"]["batch_size"] == 5


def test_masks_are_trained_without_tensorboard_images() -> None:
    spec, notices = written("segment_train", "train.tensorboard.enabled=true")
    assert spec["train"]["tensorboard"]["enabled"] is False
    assert any("train.tensorboard.enabled" in notice for notice in notices)


@pytest.mark.parametrize(("given", "epochs", "expected"), [(0, 4, 4), (9, 4, 4), (3, 4, 3)])
def test_the_frequency_of_tensorboard_images_fits_the_epochs(given: int, epochs: int, expected: int) -> None:
    frequency = "train.tensorboard.infrequent_logging_frequency"
    spec, notices = written(
        "train", f"{frequency}={given}", f"train.num_epochs={epochs}", "train.tensorboard.enabled=true"
    )
    assert get_dotted(spec, frequency) == expected
    assert any(frequency in notice for notice in notices) == (given != expected)


@pytest.mark.parametrize(
    ("action", "overrides", "size"),
    [
        ("export", ["dataset.classify.num_input=4", "dataset.classify.input_map={A: 0, B: 1, C: 2, D: 3}"], (896, 224)),
        (
            "export",
            [
                "dataset.classify.num_input=4",
                "dataset.classify.input_map={A: 0, B: 1, C: 2, D: 3}",
                "dataset.classify.concat_type=grid",
                "dataset.classify.image_width=112",
            ],
            (448, 224),
        ),
        ("segment_export", ["dataset.segment.img_size=256"], (256, 256)),
        ("segment_export", ["export.input_height=128", "export.input_width=64"], (128, 64)),
    ],
)
def test_the_exported_size_is_written_out(action: str, overrides: list[str], size: tuple[int, int]) -> None:
    spec, _ = written(action, "export.checkpoint=/a.pth", *overrides)
    assert (spec["export"]["input_height"], spec["export"]["input_width"]) == size
    assert spec["export"]["onnx_file"] == "/results/export/model.onnx"


@pytest.mark.parametrize(
    ("action", "override", "word"),
    [
        ("segment_train", "dataset.segment.multi_scale_train=true", "multi_scale_train"),
        ("segment_train", "dataset.segment.img_size=256", None),
        ("segment_train", "model.backbone.type=c_radio_v2_vit_base_patch16_224", "224 x 224"),
        ("train", "dataset.classify.image_width=256", "224 x 224"),
        ("train", "train.optim.monitor_name=val_acc", "monitor_name"),
        ("export", "export.on_cpu=true", "on_cpu"),
    ],
)
def test_what_the_published_container_does_otherwise_is_said(action: str, override: str, word: str | None) -> None:
    before = set(written(action)[1])
    after = set(written(action, override)[1])
    said = after if word == "multi_scale_train" else after - before
    assert any(word in notice for notice in said) if word else not said


@pytest.mark.parametrize(
    ("action", "overrides", "code"),
    [
        ("train", ["train.optim.policy=step", "train.num_epochs=2"], "E_TAO_STEP_POLICY"),
        ("segment_evaluate", ["evaluate.checkpoint=/a.engine"], "E_TAO_CHECKPOINT_NAME"),
        ("train", ["train.resume_training_checkpoint_path=/a.ckpt"], "E_TAO_CHECKPOINT_NAME"),
        ("segment_export", ["export.serialize_nvdsinfer=true"], "E_TAO_NVDSINFER"),
        ("train", ["dataset.classify.image_ext=${eval:'1'}"], "E_TAO_INTERPOLATION"),
        ("train", ["wandb.tags=['${results_dir}']"], "E_TAO_INTERPOLATION"),
    ],
)
def test_values_that_stop_the_published_container_are_refused_with_a_fix(
    action: str, overrides: list[str], code: str
) -> None:
    with pytest.raises(UsageError) as caught:
        written(action, *overrides)
    assert caught.value.code == code and caught.value.fix


# The published tables.


def published(shared: Path) -> dict[str, dict[str, str]]:
    with (shared / "docs" / "config-fields.csv").open(encoding="utf-8", newline="") as stream:
        return {row["key"]: row for row in csv.DictReader(stream)}


KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "string": (str,),
    "categorical": (str,),
    "list": (list,),
    "collection": (dict, type(None)),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("realistic", [False, True], ids=["template", "realistic"])
def test_every_key_has_the_published_name_type_range_and_choice(action: str, realistic: bool, shared: Path) -> None:
    table = published(shared)
    facts = (shared / "docs" / "model-facts.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"[\w.-]+", facts))
    spec, _ = written(action, *(REALISTIC[action] if realistic else []))
    values = flatten(spec, table.keys() - {key for key, row in table.items() if row["type"] == "section"})
    for key, value in values.items():
        assert key in table, f"{key} is not published"
        row = table[key]
        assert isinstance(value, KINDS[row["type"]]) and (row["type"] == "bool") == isinstance(value, bool), key
        for bound, holds in (("minimum", float.__le__), ("maximum", float.__ge__)):
            assert not row[bound] or holds(float(row[bound]), float(value)), key
        # The published list of choices lacks C-RADIO and mmiou, which the published container runs.
        choices = row["enum"].split("|") if row["enum"] else []
        backbone = key == "model.backbone.type" and re.search(r"c_radio_", str(value))
        assert not choices or value in choices or backbone or value in documented, f"{key}={value}"
        assert not row["pattern"] or re.fullmatch(row["pattern"], str(value)), key


def test_keys_that_are_left_out_have_that_default_in_the_published_table(shared: Path) -> None:
    table = published(shared)
    assert {key: json.loads(table[key]["default"]) for key in LATER_KEYS} == LATER_KEYS
