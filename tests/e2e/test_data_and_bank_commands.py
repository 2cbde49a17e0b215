"""``skillrun data`` and ``skillrun bank`` as a person and as an agent type them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from skillrun import bank


def test_synth_then_check_reports_the_same_counts(skillrun, workspace: Path) -> None:
    made = skillrun("data", "synth", "--out", "my boards", "--pairs", "12", "--size", "32", "--json")
    assert made.returncode == 0, made.stderr
    counts = json.loads(made.stdout)["dataset"]["counts"]
    checked = skillrun("data", "check", "my boards", "--json")
    parts = json.loads(checked.stdout)["parts"]
    assert {name: part["labels"] for name, part in parts.items()} == counts
    shown = skillrun("data", "check", "my boards")
    assert shown.stdout.splitlines()[-1] == "ok"
    assert "PASS" in shown.stdout


def test_a_data_set_is_not_overwritten_without_force(skillrun, workspace: Path) -> None:
    arguments = ("data", "synth", "--out", "boards", "--pairs", "4", "--size", "32")
    assert skillrun(*arguments).returncode == 0
    refused = skillrun(*arguments)
    assert refused.returncode == 6
    assert "fix: " in refused.stderr
    assert skillrun(*arguments, "--force").returncode == 0


def test_check_of_a_broken_set_lists_rows_and_exits_7(skillrun, workspace: Path) -> None:
    assert skillrun("data", "synth", "--out", "boards", "--pairs", "8", "--size", "32").returncode == 0
    for image in list((workspace / "boards" / "train" / "images").rglob("*.png"))[:2]:
        image.unlink()
    result = skillrun("data", "check", "boards")
    assert result.returncode == 7
    assert "E_DATA_IMAGE_MISSING" in result.stdout
    assert "line" in result.stdout


def test_an_unknown_converter_is_refused(skillrun) -> None:
    result = skillrun("data", "convert", "nothing", ".", "out")
    assert result.returncode == 2
    assert "deeppcb" in result.stderr


def test_bank_check_finds_a_changed_default_and_generate_mends_it(skillrun, workspace: Path) -> None:
    copy = workspace / "bank"
    for folder in ("schemas", "references"):
        shutil.copytree(bank.bank_root() / folder, copy / folder)
    assert skillrun("bank", "check", "--root", copy).returncode == 0
    schema = copy / "schemas" / "visual_changenet" / "train.schema.json"
    schema.write_text(
        schema.read_text(encoding="utf-8").replace('"default": 1234', '"default": 7', 1), encoding="utf-8"
    )
    drifted = skillrun("bank", "check", "--root", copy)
    assert drifted.returncode == 11
    assert "train.seed" in drifted.stdout
    assert skillrun("bank", "generate", "--root", copy).returncode == 0
    assert skillrun("bank", "check", "--root", copy).returncode == 0


def test_templates_schemas_and_specs_are_shown(skillrun) -> None:
    assert "num_epochs: 100" in skillrun("visual_changenet", "template", "train").stdout
    schema = json.loads(skillrun("visual_changenet", "schema", "train", "--task", "segment").stdout)
    assert "segment" in schema["properties"]["dataset"]["properties"]
    spec = json.loads(skillrun("visual_changenet", "spec", "segment_evaluate", "--json").stdout)["spec"]
    assert spec["task"] == "segment"
