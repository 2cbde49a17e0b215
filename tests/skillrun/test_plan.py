"""The plan: one JSON document that says everything, and a hash of what decides the outcome."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from skillrun.plan import Mount, Plan

SPEC = "task: classify\nresults_dir: /w/runs/one/results\ntrain:\n  num_epochs: 3\n"


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "run_id": "one",
        "run_dir": "/w/runs/one",
        "model": "visual_changenet",
        "action": "train",
        "task": "classify",
        "backend": "local",
        "image": "image:1",
        "argv": ("visual_changenet", "train", "-e", "/w/runs/one/spec.yaml"),
        "env": {"SKILLRUN_RUN_DIR": "/w/runs/one"},
        "mounts": (Mount(source="/data", target="/data", read_only=True, kind="dir"),),
        "results_dir": "/w/runs/one/results",
        "spec_text": SPEC,
    }
    return Plan(**{**values, **changes})


# Lone surrogates are no text that a UTF-8 file can hold.
words = st.text(st.characters(codec="utf-8"), max_size=20)


@given(words, st.lists(words, max_size=4), st.dictionaries(words, words, max_size=3))
def test_a_plan_survives_json(folder: str, argv: list[str], env: dict[str, str]) -> None:
    mounts = (Mount(source=folder, target=folder, read_only=False, kind="dir"),)
    made = plan(run_dir=f"/runs/{folder}", argv=tuple(argv), env=env, mounts=mounts, parent={"run_id": folder})
    assert Plan.from_json(made.to_json()) == made
    assert Plan.from_json(made.hashed().to_json()).hashed() == made.hashed()


def test_a_plan_is_loaded_from_its_file(hostile_dir: Path) -> None:
    made = plan(run_dir=str(hostile_dir), notices=("ü",), automl={"state": "off", "reason": "--no-automl"}).hashed()
    (hostile_dir / "plan.json").write_text(made.to_json(), encoding="utf-8")
    assert Plan.load(hostile_dir / "plan.json") == made


def test_a_plan_can_not_be_changed() -> None:
    with pytest.raises(ValidationError):
        plan().run_id = "two"  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "{}", "[]", json.dumps({**json.loads(plan().to_json()), "extra": 1})])
def test_anything_else_is_no_plan(text: str) -> None:
    with pytest.raises(ValidationError):
        Plan.from_json(text)


def moved(name: str) -> Plan:
    """The same request as `plan()` as another run."""
    folder = f"/w/runs/{name}"
    return plan(
        run_id=name,
        run_dir=folder,
        argv=("visual_changenet", "train", "-e", f"{folder}/spec.yaml"),
        env={"SKILLRUN_RUN_DIR": folder},
        results_dir=f"{folder}/results",
        spec_text=SPEC.replace("/w/runs/one", folder),
    )


def test_the_hash_is_that_of_the_request_not_of_the_run() -> None:
    assert plan().hashed().plan_hash == moved("two ü").hashed().plan_hash
    assert plan().hashed() == plan().hashed().hashed()
    assert len(plan().hashed().plan_hash) == 64


def test_the_hash_reads_the_spec_not_its_spelling() -> None:
    spelled = "# a comment\n" + SPEC.replace("\n  num_epochs: 3", " {num_epochs: 3}")
    assert plan(spec_text=spelled).hashed().plan_hash == plan().hashed().plan_hash


CHANGES: dict[str, dict[str, Any]] = {
    "value": {"spec_text": SPEC.replace("3", "4")},
    "action": {"action": "evaluate"},
    "command": {"argv": ("visual_changenet", "evaluate")},
    "variable": {"env": {"SKILLRUN_RUN_DIR": "/w/runs/one", "A": "1"}},
    "data": {"mounts": ()},
    "image": {"image": "image:2"},
    "parent": {"parent": {"checkpoint": "/x.pth"}},
    "GPUs": {"gpus": "1"},
    "results elsewhere": {"results_dir": "/elsewhere"},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_what_decides_the_outcome_changes_the_hash(changes: dict[str, Any]) -> None:
    assert plan(**changes).hashed().plan_hash != plan().hashed().plan_hash


def test_notices_and_the_version_do_not_change_the_hash() -> None:
    assert plan(notices=("a",), skillrun_version="9").hashed().plan_hash == plan().hashed().plan_hash
