"""The contract of the model: well-formed, and without a name that nothing knows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from skillrun import bank
from skillrun.maintain.contract import check_contracts

MODEL = "visual_changenet"


def broken(tmp_path: Path, change: Any) -> list[str]:
    root = tmp_path / "bank"
    shutil.copytree(bank.bank_root() / "references", root / "references")
    path = root / "references" / MODEL / "skill_info.yaml"
    info = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(info)
    path.write_text(yaml.safe_dump(info, allow_unicode=True), encoding="utf-8")
    return [str(item) for item in check_contracts(root)]


def test_the_contract_is_consistent() -> None:
    assert check_contracts(bank.bank_root()) == []


def _wrong_input(info: Any) -> None:
    info["actions"]["train"]["inputs"]["dataset.classify.train_dataset.csv"] = {"type": "file"}


def _wrong_kind(info: Any) -> None:
    info["actions"]["train"]["inputs"]["dataset.classify.train_dataset.images_dir"]["type"] = "file"


def _unknown_function(info: Any) -> None:
    info["spec_params"]["evaluate"]["evaluate.checkpoint"] = "parent_modle"


def _wrong_shorthand(info: Any) -> None:
    info["spec_shorthand_keys"]["epochs"] = "train.epochs"


def _wrong_source(info: Any) -> None:
    info["data_sources"]["segment_train"] = {
        "dataset.classify.train_dataset.csv_path": {"source": "train_datasets", "path": ""}
    }


def _missing_action(info: Any) -> None:
    del info["actions"]["segment_export"]


def _both_ways(info: Any) -> None:
    ports = info["actions"]["gen_trt_engine"]
    ports["inputs"]["gen_trt_engine.trt_engine"] = {"type": "file"}


def _wrong_template(info: Any) -> None:
    info["spec_templates"]["train"] = "spec_template_training.yaml"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (_wrong_input, "train_dataset.csv is no key"),
        (_wrong_kind, "is a dir, not a file"),
        (_unknown_function, "'parent_modle' is no inference function"),
        (_wrong_shorthand, "train.epochs is no key"),
        (_wrong_source, "is no input of this action"),
        (_missing_action, "segment_export"),
        (_both_ways, "both input and output"),
        (_wrong_template, "must be spec_template_train.yaml"),
    ],
)
def test_an_injected_fault_is_caught(tmp_path: Path, change: Any, word: str) -> None:
    assert any(word in line for line in broken(tmp_path, change))


def test_a_contract_of_the_wrong_shape_is_reported_with_its_place(tmp_path: Path) -> None:
    found = broken(tmp_path, lambda info: info["actions"]["train"].update(mode="guess"))
    assert any("actions.train.mode" in line for line in found)
