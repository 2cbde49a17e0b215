"""Weights as a user names them: fetched once from a local hub, pinned by the plan, recorded by the result."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from hub_server import COMMIT, GATED, Hub, content, sha256
from skillrun.data.synth import synth
from skillrun.plan import Plan
from skillrun.runfolder import RunFolder, read_json
from visual_changenet.models.backbones import build_backbone

Command = Callable[..., "subprocess.CompletedProcess[str]"]

KIND = "fan_tiny_8_p4_hybrid"
KEY = "model.backbone.pretrained_backbone_path"
TOKEN = "hf_neverWrittenAnywhere"
SIZE = ("dataset.classify.image_width=64", "dataset.classify.image_height=64")
SMALL = (
    f"model.backbone.type={KIND}",
    "model.decode_head.decoder_params.embed_dim=16",
    *SIZE,
    "dataset.classify.workers=0",
    "batch_size=4",
    "num_epochs=1",
    "train.threads=1",
    "train.tensorboard.enabled=false",
)


@pytest.fixture(scope="module")
def weights() -> bytes:
    """A file of weights for a whole FAN tiny backbone."""
    torch.manual_seed(3)
    tensors = build_backbone(KIND, (64, 64)).state_dict()
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


@pytest.fixture
def train(skillrun: Command, hub: Hub, weights: bytes, workspace: Path) -> Command:
    """Runs ``skillrun visual_changenet train`` on a few pairs; the hub has the weights under every name."""
    hub.data, hub.etag = weights, sha256(weights)
    synth(workspace / "my boards", pairs=8, size=64, seed=5)
    data = ("--train-data", workspace / "my boards" / "train", "--eval-data", workspace / "my boards" / "eval")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return skillrun("visual_changenet", "train", "--no-automl", "--backend", "local", *data, *arguments)

    return run


def answer(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr
    parsed: dict[str, Any] = json.loads(result.stdout)
    return parsed


def refused(result: subprocess.CompletedProcess[str], workspace: Path, exit_code: int, code: str) -> str:
    """What the command said; nothing of a run may be left behind."""
    assert result.returncode == exit_code, result.stderr
    assert f"error[{code}]" in result.stderr
    assert not list(workspace.glob("runs/*"))
    return result.stderr


def fetches(hub: Hub) -> int:
    """How many requests asked for bytes."""
    return len(hub.asked("cdn"))


def test_weights_of_the_hub_are_fetched_once_pinned_recorded_and_used_again(
    train: Command, hub: Hub, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    trained = train(f"{KEY}={hub.url}/org/fan/resolve/main/model.safetensors", *SMALL, "--json")
    run = run_of(trained)
    pinned = {"source": f"hf://org/fan/model.safetensors@{COMMIT}", "revision": COMMIT, "sha256": hub.etag}
    plan = Plan.load(run.plan)
    assert plan.weights is not None
    assert plan.weights.items() >= {**pinned, "size": len(hub.data)}.items()
    assert Path(plan.weights["path"]).read_bytes() == hub.data
    assert (read_json(run.result) or {})["provenance"]["weights"] == pinned
    said = run.log.read_text(encoding="utf-8") + run.events.read_text(encoding="utf-8")
    assert "of the backbone's" in said, "the training loaded them"
    assert fetches(hub) == 1

    shown = train(f"{KEY}=org/fan", *SMALL, "--dry-run")
    assert "is here" in shown.stdout, "a repository stands for its model.safetensors"
    asked = len(hub.seen)
    again = train(f"{KEY}=org/fan", *SMALL, "--offline", "--json")
    assert len(hub.seen) == asked, "offline asks nobody, also where a run and not a person has staged them"
    second = Plan.load(run_of(again).plan)
    assert second.weights == plan.weights
    assert second.plan_hash == plan.plan_hash, "the same request is the same plan"
    assert answer(again)["run"]["metrics"]["train_loss"] == answer(trained)["run"]["metrics"]["train_loss"]
    assert fetches(hub) == 1

    assert all(one.headers["Authorization"] == f"Bearer {TOKEN}" for one in hub.seen if one.place == "hub")
    assert all(one.headers["Authorization"] is None for one in hub.seen if one.place == "cdn")
    written = [path for path in workspace.rglob("*") if path.is_file()]
    assert run.plan in written
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert not [result for result in (trained, shown, again) if TOKEN in result.stdout + result.stderr]


def run_of(result: subprocess.CompletedProcess[str]) -> RunFolder:
    return RunFolder(Path(answer(result)["run"]["run_dir"]))


def test_a_dry_run_asks_for_no_byte_says_so_and_writes_nothing(train: Command, hub: Hub, workspace: Path) -> None:
    before = set(workspace.rglob("*"))
    shown = train(f"{KEY}=org/fan", *SMALL, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert f"hf://org/fan/model.safetensors@{COMMIT}" in shown.stdout
    assert "would be fetched" in shown.stdout
    assert [one.method for one in hub.seen] == ["HEAD"]
    assert set(workspace.rglob("*")) == before


# --- the default backbone ------------------------------------------------------------------------------------------


def test_the_default_backbone_is_the_contracts_and_pinned(train: Command, hub: Hub, workspace: Path) -> None:
    plan = answer(train("--dry-run", "--json"))["plan"]
    assert plan["weights"]["source"] == f"hf://nvidia/C-RADIOv2-B/model.safetensors@{COMMIT}"
    assert (plan["weights"]["sha256"], plan["weights"]["size"]) == (hub.etag, len(hub.data))
    assert plan["weights"]["path"] in plan["spec_text"]
    assert [(one.place, one.method) for one in hub.seen] == [("hub", "HEAD")]
    assert "/nvidia/C-RADIOv2-B/resolve/main/model.safetensors" in hub.seen[0].path


def test_weights_of_another_family_are_refused_before_anything_starts(
    train: Command, hub: Hub, workspace: Path
) -> None:
    said = refused(train(), workspace, 7, "E_WEIGHTS_FAMILY")
    assert "FAN" in said
    assert "C-RADIO" in said
    assert fetches(hub) == 1


@pytest.mark.parametrize("override", ["pretrained_backbone=", f"model.backbone.type={KIND}"])
def test_random_weights_ask_nobody(override: str, train: Command, hub: Hub) -> None:
    plan = answer(train(override, *SIZE, "--dry-run", "--json"))["plan"]
    assert plan["weights"] is None
    assert hub.seen == []


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["--offline", "HF_HUB_OFFLINE"])
def test_offline_with_nothing_staged_asks_nobody_and_says_how_to_bring_it(
    how: str, train: Command, hub: Hub, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "HF_HUB_OFFLINE":
        monkeypatch.setenv(how, "1")
    said = refused(train(*([how] if how.startswith("--") else [])), workspace, 5, "E_STAGE_OFFLINE")
    assert "skillrun stage hf://nvidia/C-RADIOv2-B/model.safetensors" in said
    assert "pretrained_backbone=" in said
    assert hub.seen == []


def test_a_hub_that_is_away_is_told_with_the_way_to_do_without(
    train: Command, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        said = refused(train(), workspace, 8, "E_HUB_UNREACHABLE")
    assert "random weights: pretrained_backbone=" in said


REFUSALS = {
    "no token": (401, {}, "", 4, "E_HUB_NO_TOKEN"),
    "licence": (403, GATED, TOKEN, 4, "E_HUB_NOT_ACCEPTED"),
    "absent": (404, {"X-Error-Code": "EntryNotFound"}, TOKEN, 5, "E_HUB_NOT_FOUND"),
}


@pytest.mark.parametrize(("status", "headers", "token", "exit_code", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_said_once_asked_once_and_leaves_nothing(
    status: int,
    headers: dict[str, str],
    token: str,
    exit_code: int,
    code: str,
    train: Command,
    hub: Hub,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.refusals = [(status, headers)] * 9
    said = refused(train(f"{KEY}=org/fan", *SMALL), workspace, exit_code, code)
    assert "fix: " in said
    assert TOKEN not in said
    assert len(hub.seen) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_another_server_that_refuses_is_said_and_leaves_nothing(
    status: int, train: Command, hub: Hub, workspace: Path
) -> None:
    hub.refusals = [(status, {})] * 9
    refused(train(f"{KEY}={hub.cdn_url}/files/w.safetensors", *SMALL), workspace, 4, "E_URL_REFUSED")


def test_bytes_that_are_not_what_the_hub_declared_start_nothing(train: Command, hub: Hub, workspace: Path) -> None:
    hub.lies = content(len(hub.data), b"lie")
    refused(train(f"{KEY}=org/fan", *SMALL), workspace, 8, "E_STAGE_HASH")
    assert not list((workspace / "cache").rglob("*.safetensors"))
