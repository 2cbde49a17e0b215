"""Parity finds what is wrong with a written file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from visual_changenet.actions.export import outputs_of, prove
from visual_changenet.errors import RejectedError
from visual_changenet.events import Progress
from visual_changenet.export.graph import make_card, write_graph
from visual_changenet.export.pairs import Pairs, synthetic_pairs
from visual_changenet.export.parity import Difference, compare
from visual_changenet.export.target import Target, written_beside
from visual_changenet.models import Network, build_model
from visual_changenet.runtime import Batch, open_runtime
from visual_changenet.runtime.card import Card
from visual_changenet.session import Session
from visual_changenet.spec import validate

SIDE = 32
Made = tuple[dict[str, Any], Network, Card, Path]


@pytest.fixture(scope="module", params=["classify", "segment"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Spec, network, card and file of a network whose outputs are of ordinary size."""
    folder = tmp_path_factory.mktemp("parity")
    spec = validate(
        {
            "task": request.param,
            "results_dir": str(folder),
            "model": {
                "backbone": {"type": "fan_tiny_8_p4_hybrid"},
                "classify": {"embed_dec": 8, "difference_module": "learnable", "eval_margin": 0.5},
                "decode_head": {"decoder_params": {"embed_dim": 16}},
            },
            "dataset": {
                "classify": {"num_input": 1, "input_map": None, "image_height": SIDE, "image_width": SIDE},
                "segment": {"img_size": SIDE},
            },
        }
    )
    torch.manual_seed(0)
    network = build_model(spec).eval()
    card = make_card(spec, network, (SIDE, SIDE), "0" * 64, None)
    path = folder / "good.onnx"
    write_graph(network, card, Target(path, 17, None), path)
    return spec, network, card, path


def tampered(source: Path, target: Path, name: str, factor: float) -> None:
    """A copy with one weight multiplied: still a valid file."""
    model = onnx.load(source)
    (entry,) = [entry for entry in model.graph.initializer if entry.name.endswith(name)]
    values = numpy_helper.to_array(entry) * np.float32(factor)
    entry.CopyFrom(numpy_helper.from_array(values, entry.name))
    onnx.save(model, target)


def last_layer(card: Card) -> str:
    return "change_probability.conv2d.weight" if card.task == "segment" else "classifier.6.weight"


def test_a_good_file_passes_and_one_changed_weight_does_not(made: Made, tmp_path: Path) -> None:
    _, network, card, path = made
    pairs = synthetic_pairs(card, 7)
    reference = outputs_of(network, pairs)
    good = compare(open_runtime(path, "cpu"), pairs, reference, 1e-3)
    assert good.passed
    assert good.worst("flips") == 0
    tampered(path, tmp_path / "bad.onnx", last_layer(card), 1.05)
    bad = compare(open_runtime(tmp_path / "bad.onnx", "cpu"), pairs, reference, 1e-3)
    assert not bad.passed
    assert bad.worst("output_max_rel") > 1e-3


def test_a_file_changed_before_it_is_proven_ends_as_rejected_with_exit_11(made: Made, tmp_path: Path) -> None:
    spec, network, card, _ = made
    spec = spec | {"results_dir": str(tmp_path)}
    target = Target(tmp_path / "net.onnx", 17, None)
    pairs = synthetic_pairs(card, 7)
    with pytest.raises(RejectedError) as caught, Session("export", spec) as session:
        progress = Progress(session.events, "export", 5)
        with written_beside(target.path) as temporary:
            write_graph(network, card, target, temporary)
            tampered(temporary, temporary, last_layer(card), 2.0)
            prove(session, network, temporary, target, pairs, progress)
    assert caught.value.exit_code == 11
    assert caught.value.code == "E_EXPORT_PARITY"
    assert "7 pairs (synthetic)" in caught.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "net.onnx.rejected", "parity.json"]
    parity = json.loads((tmp_path / "parity.json").read_text(encoding="utf-8"))
    assert (parity["passed"], parity["model"]) == (False, "net.onnx.rejected")
    result = json.loads((tmp_path / "export" / "result.json").read_text(encoding="utf-8"))
    assert result["metrics"]["parity_output_max_rel"] > 0.1


def test_outputs_that_are_no_numbers_never_pass(made: Made, tmp_path: Path) -> None:
    _, network, card, path = made
    tampered(path, tmp_path / "nan.onnx", last_layer(card), float("nan"))
    pairs = synthetic_pairs(card, 2)
    with np.errstate(invalid="ignore"):
        found = compare(open_runtime(tmp_path / "nan.onnx", "cpu"), pairs, outputs_of(network, pairs), 1e-3)
    assert not found.passed
    found.write(tmp_path / "parity.json", "nan.onnx", "0" * 64)
    written = json.loads((tmp_path / "parity.json").read_text(encoding="utf-8"))
    assert written["batches"][0]["output_max_abs"] is None


class Fixed:
    """A runtime with given answers, one per pair: the numbers of ``compare`` can be told in advance."""

    provider = "none"
    notices: tuple[str, ...] = ()

    def __init__(self, card: Card, answers: Any) -> None:
        self.card, self.batch, self.answers = card, Batch(1, None), np.asarray(answers, np.float32)

    def run(self, first: Any, second: Any) -> tuple[Any, ...]:
        return (self.answers[first[:, 0, 0, 0].astype(int)],)


def distances(ours: list[float], theirs: list[float], margin: float, card: Card) -> Difference:
    images = np.arange(len(ours), dtype=np.float32)[:, None, None, None] * np.ones((1, 3, SIDE, SIDE), np.float32)
    card = replace(card, task="classify", score="distance", margin=margin)
    reference = [np.asarray(theirs, np.float32)]
    return compare(Fixed(card, ours), Pairs(images, images, "made up"), reference, 1e-3).batches[0]


def test_a_flip_next_to_the_margin_is_counted_but_is_none_outside_of_the_band(made: Made) -> None:
    card = made[2]
    near = distances([0.5001, 1.0], [0.4999, 1.0], 0.5, card)
    assert (near.flips, near.flips_outside) == (0.5, 0.0)
    assert near.fits(1e-3, 1.0)
    far = distances([0.6, 1.0], [0.4, 1.0], 0.5, card)
    assert (far.flips, far.flips_outside) == (0.5, 0.5)
    assert far.score_max_abs == pytest.approx(0.2)
    assert far.score_mean_abs == pytest.approx(0.1)
    assert far.output_max_rel == pytest.approx(0.2)
    assert not far.fits(1e-3, 1.0)


def test_distances_above_one_are_compared_relatively(made: Made) -> None:
    found = distances([1000.5, 1.0], [1000.0, 1.0], 500.0, made[2])
    assert found.fits(1e-3, 1000.0)
    assert not found.fits(1e-4, 1000.0)
