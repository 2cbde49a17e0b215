"""What a task begins with: data, spec files and earlier runs, made with skillrun's own commands, not by the agent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import yaml
from door import skillrun

AS_IT_WAS = ".as_it_was.csv"
SIZE, PAIRS, SEED = 64, 12, 5
_MODEL = {
    "backbone": {"type": "fan_tiny_8_p4_hybrid", "pretrained_backbone_path": None},
    "decode_head": {"decoder_params": {"embed_dim": 16}},
}
# The smallest network, and one thread: two cores finish a training in seconds.
_TRAIN = {"num_epochs": 2, "checkpoint_interval": 1, "validation_interval": 1, "threads": 1}
_QUIET = {"tensorboard": {"enabled": False}}
QUICK = {
    "model": _MODEL,
    "dataset": {"classify": {"batch_size": 4, "workers": 0, "image_width": SIZE, "image_height": SIZE}},
    "train": {**_TRAIN, **_QUIET},
}
QUICK_SEGMENT = {
    "task": "segment",
    "model": _MODEL,
    "dataset": {"segment": {"batch_size": 4, "workers": 0, "img_size": SIZE}},
    "train": {**_TRAIN, **_QUIET, "num_epochs": 1},
}


class Workshop:
    """Makes workspaces below a folder; earlier runs are made once and linked into each that needs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def workspace(self, name: str, given: Sequence[str]) -> tuple[Path, dict[str, str]]:
        """A new workspace with the things given, and the ids of the runs among them."""
        place = self.folder / name
        place.mkdir(parents=True)
        runs: dict[str, str] = {}
        for thing in given:
            if thing in ("trained", "failed"):
                run = self.trained if thing == "trained" else self.failed
                (place / "runs").mkdir(exist_ok=True)
                (place / "runs" / run.name).symlink_to(run)
                runs[thing] = run.name
            else:
                self._put(place, thing)
        return place, runs

    def _put(self, place: Path, thing: str) -> None:
        """Copy a thing into a workspace; it is made the first time."""
        made = self.folder / f"given {thing}"
        if not made.exists():
            made.mkdir(parents=True)
            put(made, thing)
        shutil.copytree(made, place, dirs_exist_ok=True)

    @cached_property
    def trained(self) -> Path:
        """A training of two epochs that succeeded."""
        return self._train("trained")

    @cached_property
    def failed(self) -> Path:
        """A training whose loss became infinite."""
        return self._train("failed", "learning_rate=1e30")

    def _train(self, name: str, *overrides: str) -> Path:
        place = self.folder / f"given {name}"
        place.mkdir(parents=True)
        for thing in ("boards", "quick.yaml"):
            self._put(place, thing)
        data = ("--train-data", "boards/train", "--eval-data", "boards/eval")
        skillrun(place, "visual_changenet", "train", "--no-automl", "--spec", "quick.yaml", *data, *overrides)
        (run,) = (place / "runs").iterdir()
        return run


def put(place: Path, thing: str) -> None:
    """Make one thing that users give."""
    if thing.endswith(".yaml"):
        values = QUICK_SEGMENT if "segment" in thing else QUICK
        (place / thing).write_text(yaml.safe_dump(values), encoding="utf-8")
        return
    task = "segment" if thing == "pairs" else "classify"
    words = ("data", "synth", "--out", thing, "--task", task, "--pairs", str(PAIRS), "--size", str(SIZE))
    made = skillrun(place, *words, "--seed", str(SEED), "--json")
    json.loads(made.stdout)
    if thing in ("messy", "one_class"):
        _spoil(place / thing / "train" / "dataset.csv", thing, place / AS_IT_WAS)


def _spoil(table: Path, how: str, before: Path) -> None:
    """As a spreadsheet saves it, or without any defect; a copy is kept for comparison."""
    text = table.read_text(encoding="utf-8")
    shutil.copy(table, before)
    if how == "messy":
        table.write_bytes(b"\xef\xbb\xbf" + text.replace(",", ";").replace("\n", "\r\n").encode())
    else:
        head, *rows = text.splitlines(keepends=True)
        table.write_text(head + "".join(row for row in rows if ",PASS," in row), encoding="utf-8")
