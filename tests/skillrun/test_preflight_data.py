"""The data gate before a launch looks at what the action will read, as its spec says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import skillrun.data
from skillrun import bank
from skillrun.data.synth import synth
from skillrun.errors import DataError
from skillrun.overrides import get_dotted
from skillrun.preflight import check_data
from skillrun.preflight.data_codes import data_rules

MODEL = "visual_changenet"


@pytest.fixture
def root(hostile_dir: Path) -> Path:
    folder = hostile_dir / "pairs"
    synth(folder, task="segment", pairs=8, size=32, seed=1)
    return folder


def spec(action: str, root: Path, **segment: Any) -> dict[str, Any]:
    values: dict[str, Any] = bank.load_yaml(bank.template_path(MODEL, action))
    get_dotted(values, "dataset.segment").update(root_dir=str(root), **segment)
    return values


ACTIONS = ("segment_train", "segment_evaluate", "segment_inference", "segment_trt_evaluate")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_good_data_set_passes(root: Path, action: str) -> None:
    check_data(spec(action, root), action)


@pytest.mark.parametrize(
    ("action", "unread"),
    [
        ("segment_train", ("test", "predict")),
        ("segment_evaluate", ("train", "val", "predict")),
        ("segment_inference", ("train", "val", "test")),
    ],
)
def test_lists_that_an_action_does_not_read_may_be_absent(root: Path, action: str, unread: tuple[str, ...]) -> None:
    for split in unread:
        (root / "list" / f"{split}.txt").unlink()
    check_data(spec(action, root), action)


@pytest.mark.parametrize(("action", "read"), [("segment_train", "val"), ("segment_evaluate", "test")])
def test_a_list_that_is_read_must_be_there(root: Path, action: str, read: str) -> None:
    (root / "list" / f"{read}.txt").unlink()
    with pytest.raises(DataError, match=f"{read}.txt") as caught:
        check_data(spec(action, root), action)
    assert caught.value.code == "E_DATA_LIST_MISSING"


def test_inference_takes_the_list_of_test_where_it_has_none_and_needs_no_masks(root: Path) -> None:
    (root / "list" / "predict.txt").unlink()
    for mask in (root / "label").iterdir():
        mask.unlink()
    check_data(spec("segment_inference", root), "segment_inference")
    with pytest.raises(DataError):
        check_data(spec("segment_evaluate", root), "segment_evaluate")


def test_folders_endings_and_classes_come_from_the_spec(root: Path) -> None:
    (root / "label").rename(root / "mask")
    for path in list((root / "mask").iterdir()):
        Image.new("L", (32, 32), 2).save(path.with_name(f"{path.stem}_gt.png"))
        path.unlink()
    names = {"annotation_folder_name": "mask", "label_suffix": "_gt.png"}
    classes = {"label_transform": "None", "num_classes": 3}
    check_data(spec("segment_train", root, **names, **classes), "segment_train")
    with pytest.raises(DataError, match="holds 2") as caught:
        check_data(spec("segment_train", root, **names), "segment_train")
    assert caught.value.code == "E_DATA_MASK_VALUES"
    assert "num_classes=3" in caught.value.fix


def told_codes(module: Path) -> Iterator[str]:
    """Codes that a module puts into a report; those that it gives to an error class end a command instead."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    raised = {id(one) for call in calls if ast.unparse(call.func).endswith("Error") for one in ast.walk(call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in raised and isinstance(node.value, str):
            yield from re.findall(r"^[EW]_DATA_[A-Z_]+$", node.value)


def test_what_a_check_of_data_can_find_has_a_record_and_no_record_is_left_over() -> None:
    modules = Path(skillrun.data.__path__[0]).glob("*.py")
    told = {code for module in modules for code in told_codes(module)}
    assert told == {one.code for one in data_rules() if "_DATA_" in one.code}
