"""The generator: valid, complete, deterministic, and honest about drift."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from skillrun import bank
from skillrun.maintain.generate import check, generate, write

MODEL = "visual_changenet"
ROOT = bank.bank_root()
ACTIONS = bank.actions(MODEL)


def schema_nodes(node: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any], bool]]:
    found = []
    for name, child in node["properties"].items():
        found.append((prefix + name, child, name in node.get("required", [])))
        if "properties" in child:
            found += schema_nodes(child, f"{prefix}{name}.")
    return found


@pytest.fixture
def small_bank(tmp_path: Path) -> Path:
    """A writable bank in a folder with a blank, a quote, a comma and a letter outside ASCII."""
    root = tmp_path / "bank 'ü', copy"
    for name in ("schemas", "references"):
        shutil.copytree(ROOT / name, root / name)
    return root


def test_the_packaged_files_are_up_to_date() -> None:
    assert check(ROOT) == []


def test_there_are_sixteen_actions_with_schema_and_template() -> None:
    assert len(ACTIONS) == 16
    for action in ACTIONS:
        assert bank.schema_path(MODEL, action).is_file()
        assert bank.template_path(MODEL, action).is_file()


@pytest.mark.parametrize("action", ACTIONS)
def test_a_schema_is_valid_strict_json_of_the_dialect(action: str) -> None:
    text = bank.schema_path(MODEL, action).read_text(encoding="utf-8")

    def refuse(token: str) -> None:
        raise AssertionError(token)

    schema = json.loads(text, parse_constant=refuse)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    assert "$ref" not in text
    assert "$defs" not in text
    assert len(text.encode()) < 40_000


@pytest.mark.parametrize("action", ACTIONS)
def test_every_property_is_typed_described_and_has_a_default(action: str) -> None:
    schema = bank.schema(MODEL, action)
    assert schema["additionalProperties"] is False
    for key, node, required in schema_nodes(schema):
        assert node["type"], key
        assert len(node["description"]) >= 20, key
        assert "default" in node or required, key
        if node["type"] == "object" or "properties" in node:
            assert node["additionalProperties"] is False, key
        Draft202012Validator(node).validate(node["default"])


@pytest.mark.parametrize("action", ACTIONS)
def test_a_template_is_the_default_and_validates(action: str) -> None:
    schema = bank.schema(MODEL, action)
    template = yaml.safe_load(bank.template(MODEL, action))
    assert template == schema["default"]
    assert list(Draft202012Validator(schema).iter_errors(template)) == []


@pytest.mark.parametrize("action", ACTIONS)
def test_a_template_explains_every_key(action: str) -> None:
    lines = bank.template(MODEL, action).splitlines()
    assert "skillrun bank generate" in lines[1]
    for before, line in pairwise(lines):
        assert len(line) <= 200
        if not line.lstrip().startswith("#"):
            assert before.lstrip().startswith("#"), line


@pytest.mark.parametrize("action", ACTIONS)
def test_lists_of_a_schema_name_existing_keys(action: str) -> None:
    schema = bank.schema(MODEL, action)
    known = bank.keys(MODEL, action)
    assert known.issuperset(schema["automl_default_parameters"])
    assert known.issuperset(schema["automl_disabled_parameters"])
    for rule in schema["x-rules"]:
        touched = {rule["left"], *rule.get("when", {}), rule.get("right", rule["left"])}
        roots = {node for node, _, _ in schema_nodes(schema)}
        assert touched <= roots, rule["id"]
        assert rule["message"]
        assert rule["fix"]


def test_a_task_sees_only_its_own_fields() -> None:
    assert not [key for key in bank.keys(MODEL, "train") if "segment" in key]
    assert not [key for key in bank.keys(MODEL, "segment_train") if "classify" in key]
    assert not [key for key in bank.keys(MODEL, "evaluate") if key.startswith(("wandb.", "export.", "train.optim"))]


def test_segment_searches_the_optimiser_and_nothing_of_classify() -> None:
    searched = bank.schema(MODEL, "segment_train")["automl_default_parameters"]
    assert "train.optim.lr" in searched
    assert not [key for key in searched if "classify" in key]
    assert searched == sorted(searched)
    assert bank.schema(MODEL, "evaluate")["automl_default_parameters"] == []


@pytest.mark.parametrize(
    ("action", "key"),
    [
        ("train", "model.backbone.pretrained_backbone_path"),
        ("train", "dataset.classify.augmentation_config.random_color.hue"),
        ("train", "dataset.classify.grid_map.x"),
        ("train", "train.max_minutes"),
        ("segment_train", "dataset.segment.augmentation.with_scale_random_crop.scale_range"),
        ("segment_train", "train.segment.weights"),
        ("evaluate", "train.classify.loss"),
        ("segment_evaluate", "evaluate.vis_after_n_batches"),
        ("export", "export.opset_version"),
        ("segment_quantize", "quantize.backend_kwargs"),
        ("gen_trt_engine", "gen_trt_engine.tensorrt.calibration.cal_cache_file"),
        ("trt_inference", "inference.trt_engine"),
    ],
)
def test_an_action_knows_its_documented_keys(action: str, key: str) -> None:
    assert key in bank.keys(MODEL, action)


def test_same_sources_give_same_bytes_in_any_process(small_bank: Path) -> None:
    code = (
        "import hashlib, sys; from pathlib import Path; from skillrun.maintain.generate import generate\n"
        "total = hashlib.sha256()\n"
        "for path, content in generate(Path(sys.argv[1])).items():\n"
        "    if path.parts[0] in ('schemas', 'references'):\n"  # the copy has no sources of the other pages
        "        total.update(path.as_posix().encode() + content)\n"
        "sys.stdout.write(total.hexdigest())"
    )
    digests = set()
    for seed, folder, root in (("0", "/", ROOT), ("4711", str(small_bank), small_bank)):
        done = subprocess.run(
            [sys.executable, "-c", code, str(root)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_changed_default_bound_and_choice_are_named(small_bank: Path) -> None:
    path = small_bank / "schemas" / MODEL / "train.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    optim = schema["properties"]["train"]["properties"]["optim"]["properties"]
    optim["lr"]["default"] = 0.5
    optim["momentum"]["maximum"] = 2.0
    optim["policy"]["enum"] = ["linear"]
    del optim["weight_decay"]
    path.write_text(json.dumps(schema), encoding="utf-8")
    found = {(item.key, item.kind) for item in check(small_bank)}
    assert found == {
        ("train.optim.lr", "default"),
        ("train.optim.momentum", "bounds"),
        ("train.optim.policy", "enum"),
        ("train.optim.weight_decay", "new-key"),
    }


def test_missing_stale_and_broken_files_are_found_and_mended(small_bank: Path) -> None:
    schemas = small_bank / "schemas" / MODEL
    (schemas / "export.schema.json").unlink()
    (schemas / "quantize.schema.json").write_text("{", encoding="utf-8")
    (schemas / "prune.schema.json").write_text("{}", encoding="utf-8")
    assert sorted(item.kind for item in check(small_bank)) == ["missing", "stale", "unreadable"]
    assert len(write(small_bank)) == 2
    (schemas / "prune.schema.json").unlink()
    assert check(small_bank) == []
    assert write(small_bank) == []


def test_generated_text_ends_lines_with_newline_only() -> None:
    for path, content in generate(ROOT).items():
        assert content.endswith(b"\n"), path
        assert b"\r" not in content, path


def test_the_manifest_proves_its_files() -> None:
    import hashlib

    rows = bank.manifest(MODEL)["actions"]
    assert set(rows) == set(ACTIONS)
    for row in rows.values():
        schema = (ROOT / "schemas" / MODEL / row["path"]).read_bytes()
        template = (ROOT / "references" / MODEL / row["spec_template"]).read_bytes()
        assert hashlib.sha256(schema).hexdigest() == row["sha256"]
        assert hashlib.sha256(template).hexdigest() == row["spec_template_sha256"]
