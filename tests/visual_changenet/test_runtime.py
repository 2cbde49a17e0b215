"""ONNX Runtime behind the runtime interface, with small graphs made by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from visual_changenet.errors import ChangeNetError, DataInvalidError, MissingFileError, SpecError
from visual_changenet.runtime import open_runtime
from visual_changenet.runtime.card import METADATA_KEY, Card, Lights
from visual_changenet.runtime.decision import decisions, score_values

CARD = Card(
    task="classify",
    classes=2,
    margin=0.5,
    score="distance",
    input=(4, 6),
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    lights=Lights(1, None, "linear", {"x": 2, "y": 2}),
    num_golden=1,
    align="none",
    precision="fp32",
    spec_sha256="0" * 64,
    parent_run=None,
    package_version="1",
)


def write(path: Path, batch: int | str, card: str | None, size: tuple[int, int] = (4, 6)) -> Path:
    """A graph that gives the mean absolute difference of both images per pair."""
    shape = [batch, 3, *size]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input_1", "input_2")]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch])
    nodes = [
        helper.make_node("Sub", ["input_1", "input_2"], ["gap"]),
        helper.make_node("Abs", ["gap"], ["size"]),
        helper.make_node("ReduceMean", ["size"], ["output"], axes=[1, 2, 3], keepdims=0),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "gap", inputs, [output]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    if card is not None:
        helper.set_model_props(model, {METADATA_KEY: card})
    onnx.save(model, path)
    return path


def images(count: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(count)
    return rng.random((count, 3, 4, 6), np.float32), rng.random((count, 3, 4, 6), np.float32)


@pytest.mark.parametrize("batch", ["batch", 3])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_any_number_of_pairs_is_answered_row_by_row(hostile_dir: Path, batch: int | str, count: int) -> None:
    runtime = open_runtime(write(hostile_dir / "gap.onnx", batch, CARD.to_json()), "cpu", threads=1)
    first, second = images(count)
    (found,) = runtime.run(first, second)
    assert found.shape == (count,)
    np.testing.assert_allclose(found, np.abs(first - second).mean(axis=(1, 2, 3)), rtol=1e-6)
    assert runtime.provider == "CPUExecutionProvider"
    assert runtime.batch == ((3, 3) if batch == 3 else (1, None))
    assert runtime.card == CARD


def test_a_gpu_that_does_not_work_gives_the_cpu_and_says_so(tmp_path: Path) -> None:
    runtime = open_runtime(write(tmp_path / "gap.onnx", "batch", CARD.to_json()), "gpu")
    if runtime.provider == "CPUExecutionProvider":
        assert "the CPU computes" in runtime.notices[0]
    else:
        assert runtime.notices == ()
    first, second = images(2)
    np.testing.assert_allclose(runtime.run(first, second)[0], np.abs(first - second).mean(axis=(1, 2, 3)), rtol=1e-5)


def test_images_of_another_shape_or_type_are_refused_with_the_right_one(tmp_path: Path) -> None:
    runtime = open_runtime(write(tmp_path / "gap.onnx", "batch", CARD.to_json()), "cpu")
    first, second = images(2)
    for wrong in (first.astype(np.float64), first[:, :, :, :5], first[:1], first[0]):
        with pytest.raises(DataInvalidError, match=r"float32 \[\d, 3, 4, 6\]") as caught:
            runtime.run(wrong, second)
        assert caught.value.code == "E_RUNTIME_INPUT"
    with pytest.raises(DataInvalidError, match="at least one row"):
        runtime.run(first[:0], second[:0])


def refused(path: Path) -> ChangeNetError:
    with pytest.raises(ChangeNetError) as caught:
        open_runtime(path, "cpu")
    assert str(path) in caught.value.message
    assert caught.value.fix
    return caught.value


def test_files_that_are_no_model_of_ours_are_refused_by_name(hostile_dir: Path) -> None:
    assert isinstance(refused(hostile_dir / "none.onnx"), MissingFileError)
    engine = hostile_dir / "model.engine"
    engine.write_bytes(b"ftrt" + bytes(100))
    assert refused(engine).code == "E_ENGINE_SIDECAR"
    assert isinstance(refused(engine.rename(hostile_dir / "model.plan")), SpecError)
    assert refused(write(hostile_dir / "foreign.onnx", "batch", None)).code == "E_ONNX_FOREIGN"
    assert refused(write(hostile_dir / "card.onnx", "batch", '{"task": "classify"}')).code == "E_CARD_INVALID"
    assert refused(write(hostile_dir / "size.onnx", "batch", CARD.to_json(), (4, 4))).code == "E_ONNX_FOREIGN"
    masks = replace(CARD, task="segment", margin=None, score="softmax", lights=None).to_json()
    assert refused(write(hostile_dir / "task.onnx", "batch", masks)).code == "E_ONNX_FOREIGN"


def test_a_damaged_file_is_refused_wherever_it_is_cut(hostile_dir: Path) -> None:
    whole = write(hostile_dir / "gap.onnx", "batch", CARD.to_json()).read_bytes()
    cut = hostile_dir / "cut.onnx"
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 3):
        cut.write_bytes(whole[:length])
        assert refused(cut).code in ("E_ONNX_INVALID", "E_ONNX_FOREIGN")
    cut.write_bytes(b"<html>not found</html>")
    assert refused(cut).code == "E_ONNX_INVALID"


def test_a_model_is_known_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    assert open_runtime(write(tmp_path / "model", "batch", CARD.to_json()), "cpu").card == CARD


def test_scores_and_decisions_follow_the_card() -> None:
    logits = np.array([[0, 0], [0, 4], [4, 0]], np.float32)
    card = replace(CARD, score="softmax")
    np.testing.assert_allclose(score_values(card, [logits]), [0.5, 0.98201376, 0.01798621], rtol=1e-5)
    assert decisions(card, score_values(card, [logits])).tolist() == [0, 1, 0]
    assert decisions(CARD, score_values(CARD, [np.array([0.5, 0.6], np.float32)])).tolist() == [0, 1]
    masks = replace(CARD, task="segment", margin=None, score="softmax", lights=None)
    maps = np.stack([logits, logits], axis=-1)[..., None]
    assert decisions(masks, score_values(masks, [maps])).shape == (3, 2, 1)


def test_a_card_with_later_entries_is_read_and_several_goldens_change_the_second_shape() -> None:
    text = CARD.to_json().replace("{", '{"later": 1, ', 1)
    assert Card.from_json(text, "here") == CARD
    assert replace(CARD, num_golden=3).shapes(2) == ((2, 3, 4, 6), (2, 3, 3, 4, 6))
