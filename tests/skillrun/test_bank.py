"""The bank answers quickly and says what it was asked wrongly."""

from __future__ import annotations

import subprocess
import sys

import pytest

from skillrun import bank
from skillrun.errors import NotFoundError, UsageError

MODEL = "visual_changenet"


def test_the_bank_imports_neither_yaml_nor_the_model() -> None:
    code = (
        "import sys; import skillrun.bank\n"
        "heavy = {'yaml', 'json', 'pydantic', 'jsonschema', 'visual_changenet', 'torch'} & set(sys.modules)\n"
        "sys.exit(','.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", _with_path(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _with_path(code: str) -> str:
    runner = str(bank.bank_root() / "runner")
    return f"import sys; sys.path.insert(0, {runner!r})\n{code}"


@pytest.mark.parametrize(
    ("action", "task", "expected"),
    [
        ("train", None, "train"),
        ("train", "classify", "train"),
        ("train", "segment", "segment_train"),
        ("segment_train", None, "segment_train"),
        ("segment_train", "segment", "segment_train"),
        ("gen-trt-engine", "segment", "segment_gen_trt_engine"),
        ("trt_evaluate", "segment", "segment_trt_evaluate"),
    ],
)
def test_both_spellings_of_an_action_work(action: str, task: str | None, expected: str) -> None:
    assert bank.resolve_action(MODEL, action, task) == expected


def test_a_misspelled_action_model_or_task_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(NotFoundError, match=r"did you mean.*evaluate"):
        bank.resolve_action(MODEL, "evalute")
    with pytest.raises(NotFoundError, match="visual_changenet"):
        bank.skill_info("visual_changent")
    with pytest.raises(UsageError, match="segment"):
        bank.resolve_action(MODEL, "train", "segmnt")


def test_an_action_of_one_task_can_not_run_for_the_other() -> None:
    with pytest.raises(UsageError, match="belongs to task segment"):
        bank.resolve_action(MODEL, "segment_train", "classify")


def test_short_names_follow_task_and_action() -> None:
    assert bank.shorthand(MODEL, "train")["batch_size"] == "dataset.classify.batch_size"
    assert bank.shorthand(MODEL, "segment_train")["batch_size"] == "dataset.segment.batch_size"
    assert bank.shorthand(MODEL, "evaluate")["checkpoint"] == "evaluate.checkpoint"
    assert bank.shorthand(MODEL, "segment_inference")["checkpoint"] == "inference.checkpoint"
    for action in bank.actions(MODEL):
        assert bank.keys(MODEL, action).issuperset(bank.shorthand(MODEL, action).values())


def test_a_contract_is_typed() -> None:
    contract = bank.contract(MODEL, "evaluate")
    assert (contract.subcommand, contract.task, contract.container) == ("evaluate", "classify", "train")
    ports = {port.key: port for port in contract.inputs}
    assert not ports["evaluate.checkpoint"].optional
    sources = {rule.key: rule for rule in contract.data_sources}
    assert sources["dataset.classify.test_dataset.csv_path"].source == "eval_dataset"
    assert sources["dataset.classify.test_dataset.images_dir"].runtime == "extracted_folder"
    assert bank.contract(MODEL, "trt_evaluate").container_image == "tao_toolkit.deploy"


def test_defaults_are_a_fresh_copy() -> None:
    first = bank.defaults(MODEL, "train")
    first["train"]["num_epochs"] = -5
    assert bank.defaults(MODEL, "train")["train"]["num_epochs"] == 100


def test_the_train_schemas_are_present() -> None:
    assert bank.train_schema_present(MODEL)
    assert bank.train_schema_present(MODEL, "segment_train")
