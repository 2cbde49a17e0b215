"""Converting and exporting checkpoint files: what arrives, what is left out, and the published layout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from visual_changenet.actions.convert_checkpoint import convert_checkpoint
from visual_changenet.actions.export_checkpoint import export_checkpoint
from visual_changenet.cli import main
from visual_changenet.errors import ChangeNetError, DataInvalidError, SpecError

ENTRIES = [
    "callbacks",
    "epoch",
    "global_step",
    "loops",
    "lr_schedulers",
    "optimizer_states",
    "pytorch-lightning_version",
    "state_dict",
    "tao_model",
]
DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"]


@pytest.fixture(scope="session")
def parity_folder(shared: Path) -> Path:
    return shared / "parity"


def all_kinds() -> dict[str, Tensor]:
    """Tensors of all dtypes, views that share memory, a scalar and an empty one."""
    torch.manual_seed(0)
    whole = torch.randn(4, 6)
    odd = {
        "t": whole.t(),
        "row": whole[1],
        "part": whole[1:3, 2:5],
        "scalar": torch.tensor(3),
        "none": torch.zeros(0, 3),
    }
    return odd | {name: torch.arange(5).to(getattr(torch, name)) for name in DTYPES}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_every_tensor_arrives_unchanged(hostile_dir: Path, ending: str, legacy: bool) -> None:
    tensors = all_kinds()
    content = {"state_dict": OrderedDict(tensors), "hyper_parameters": Namespace(lr=1)}
    torch.save(content, hostile_dir / "in.pth", _use_new_zipfile_serialization=not legacy)
    out = hostile_dir / f"out{ending}"
    convert_checkpoint(hostile_dir / "in.pth", out)
    if ending == ".pth":
        found: dict[str, Tensor] = torch.load(out, weights_only=True)["state_dict"]
    else:
        with safe_open(out, framework="pt") as source:
            found = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    assert sorted(entry.name for entry in hostile_dir.iterdir()) == ["in.pth", out.name]


def test_plain_data_stays_and_everything_else_goes(tmp_path: Path) -> None:
    adam = {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}},
        "param_groups": [{"betas": (0.9, 0.999)}],
    }
    content = {
        "epoch": 4,
        "state_dict": {"model.w": torch.ones(2)},
        "optimizer_states": [adam],
        "text": "ü",
        "raw": b"\x00\xff",
        "none": None,
        "flags": [True, 2.5],
        "counts": defaultdict(int, a=1),
        "path": Path("x"),
        "callbacks": {"ModelCheckpoint": {"best": Path("y"), "score": torch.tensor(0.5)}},
    }
    torch.save(content, tmp_path / "in.pth")
    convert_checkpoint(tmp_path / "in.pth", tmp_path / "out.pth")
    found = torch.load(tmp_path / "out.pth", weights_only=True)
    assert set(found) == set(content) - {"path"}
    assert set(found["callbacks"]["ModelCheckpoint"]) == {"score"}
    assert found["optimizer_states"][0]["param_groups"] == [{"betas": (0.9, 0.999)}]
    assert torch.equal(found["optimizer_states"][0]["state"][0]["exp_avg"], torch.ones(2))
    for name in ("epoch", "text", "raw", "none", "flags", "counts"):
        assert found[name] == content[name]


def test_a_pickled_module_becomes_its_state_dict(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    torch.save(module, tmp_path / "in.pth")
    convert_checkpoint(tmp_path / "in.pth", tmp_path / "out.pth")
    found = torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]
    wanted = module.state_dict()
    assert list(found) == list(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_newer_pickle_protocol_is_understood(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}}, tmp_path / "in.pth", pickle_protocol=5)
    convert_checkpoint(tmp_path / "in.pth", tmp_path / "out.pth")
    assert torch.equal(torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]["w"], torch.ones(2))


@pytest.mark.parametrize("name", ["out.txt", "there.pth", "nowhere/out.pth"])
def test_an_unfit_target_is_refused(tmp_path: Path, name: str) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "in.pth")
    (tmp_path / "there.pth").write_bytes(b"mine")
    with pytest.raises(SpecError) as caught:
        convert_checkpoint(tmp_path / "in.pth", tmp_path / name)
    assert caught.value.code == "E_CONVERT_TARGET"
    assert (tmp_path / "there.pth").read_bytes() == b"mine"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02K\x01.", b"text"])
def test_a_file_without_tensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.pth").write_bytes(content)
    with pytest.raises(DataInvalidError) as caught:
        convert_checkpoint(tmp_path / "in.pth", tmp_path / "out.pth")
    assert caught.value.code == "E_CHECKPOINT_INVALID"
    assert not (tmp_path / "out.pth").exists()


def recorded(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings of a recorded network, and its tensors: right names, shapes and dtypes, one number each in memory."""
    entry = json.loads((folder / f"{name}.state_dict.json").read_text(encoding="utf-8"))
    tensors = {
        key: torch.zeros((), dtype=getattr(torch, value["dtype"])).expand(value["shape"])
        for key, value in entry["tensors"].items()
    }
    return entry["settings"], tensors


NETWORKS = [
    "cls_cradio_v2_b_learnable",
    "cls_cradio_v2_b_multigolden",
    "cls_fan_tiny_euclidean",
    "cls_fan_small_learnable",
    "seg_cradio_v2_b",
    "seg_fan_small",
    "seg_nvdinov2_l_224",
    "state_dicts/cls_cradio_p3_h_euclidean",
    "state_dicts/cls_cradio_v2_h_learnable_summary",
    "state_dicts/cls_nvdinov2_l_learnable_summary",
    "state_dicts/seg_fan_large_16_p4_hybrid_256",
]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("origin", ["ours", "foreign"])
def test_an_export_has_the_published_entries_names_and_shapes(
    tmp_path: Path, parity_folder: Path, name: str, origin: str
) -> None:
    settings, tensors = recorded(parity_folder, name)
    content: dict[str, Any] = {"state_dict": {f"model.{key}": tensor for key, tensor in tensors.items()}}
    if origin == "ours":
        content |= {"epoch": 3, "global_step": 40, "spec": {"train": {"classify": {"cls_weight": [1.0, 7.0]}}}}
        content |= {"callbacks": {"Recorder": {"x": 1}}, "optimizer_states": [{"state": {}}], "lr_schedulers": []}
    torch.save(content, tmp_path / "in.pth")
    export_checkpoint(tmp_path / "in.pth", tmp_path / "out.pth")
    found = torch.load(tmp_path / "out.pth", weights_only=True)

    learnable, radio = settings.get("diff") == "learnable", settings["backbone"].startswith("c_radio")
    typed = radio and (learnable or settings["task"] == "segment")
    assert sorted(found) == ENTRIES + (["tao_model_type"] if typed else [])
    if typed:
        assert found["tao_model_type"] == ("radio_learnable" if learnable else "radio")
    assert found["tao_model"] == f"visual_changenet_{settings['task']}"
    assert isinstance(found["pytorch-lightning_version"], str)
    assert found["callbacks"] == {}
    state = found["state_dict"]
    if learnable:
        weight = state.pop("criterion.weight")
        assert weight.dtype == torch.float32
        assert weight.tolist() == ([1.0, 7.0] if origin == "ours" else [1.0, 10.0])
    assert list(state) == [f"model.{key}" for key in tensors]
    for key, tensor in tensors.items():
        assert (state[f"model.{key}"].shape, state[f"model.{key}"].dtype) == (tensor.shape, tensor.dtype)


def test_a_checkpoint_of_action_train_is_exported(trained: Path, tmp_path: Path) -> None:
    source = trained / "results" / "train" / "changenet_model_classify_latest.pth"
    assert main(["export-checkpoint", "--format", "tao", str(source), str(tmp_path / "out.pth")]) == 0
    ours, found = (torch.load(path, weights_only=True) for path in (source, tmp_path / "out.pth"))
    assert sorted(found) == ENTRIES
    assert found["state_dict"].keys() == ours["state_dict"].keys()
    assert all(torch.equal(found["state_dict"][name], ours["state_dict"][name]) for name in ours["state_dict"])
    assert found["epoch"] == ours["epoch"]


def test_weights_that_are_no_network_of_ours_are_not_exported(tmp_path: Path) -> None:
    torch.save({"state_dict": {"model.w": torch.ones(2)}}, tmp_path / "in.pth")
    with pytest.raises(ChangeNetError) as caught:
        export_checkpoint(tmp_path / "in.pth", tmp_path / "out.pth")
    assert caught.value.code == "E_EXPORT_UNKNOWN"


def test_the_command_converts_and_says_what_it_left_out(hostile_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}, "args": Namespace(a=1)}, hostile_dir / "in file.pth")
    command = [sys.executable, "-m", "visual_changenet", "convert-checkpoint", "in file.pth", "out.safetensors"]
    done = subprocess.run(command, cwd=hostile_dir, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "argparse.Namespace" in done.stdout
    assert main(["convert-checkpoint", str(hostile_dir / "in file.pth"), str(hostile_dir / "out.safetensors")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_missing_file_and_an_unwritable_folder_end_with_their_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["convert-checkpoint", str(tmp_path / "none.pth"), str(tmp_path / "out.pth")]) == 5
    torch.save({"w": torch.ones(2)}, tmp_path / "in.pth")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["convert-checkpoint", str(tmp_path / "in.pth"), str(tmp_path / "out.pth")]) == 9
    assert "No space left" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["in.pth"]
