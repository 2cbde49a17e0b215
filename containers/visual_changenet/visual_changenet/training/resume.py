"""Where a training starts: at the beginning, or exactly where an earlier one stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visual_changenet.checkpoints import checkpoint_number, newest_checkpoint, read_checkpoint
from visual_changenet.errors import SpecError
from visual_changenet.session import Session, sha256_of

KEY = "train.resume_training_checkpoint_path"


@dataclass(frozen=True)
class StartPoint:
    """The first epoch to train (from 0), and how many of its batches are done already."""

    epoch: int = 0
    batches: int = 0
    path: Path | None = None
    content: dict[str, Any] | None = None


def find_start(session: Session) -> StartPoint:
    """From ``train.resume_training_checkpoint_path``, else from the latest checkpoint of the results folder.

    Raises:
        MissingFileError, DataInvalidError: the named checkpoint can not be read.
        SpecError: ``E_SPEC_RESUME`` where it has trained ``train.num_epochs`` epochs already.
    """
    options = session.spec["train"]
    given = options["resume_training_checkpoint_path"]
    if given:
        path = Path(given)
    else:
        found, notices = newest_checkpoint(session.results_dir, session.spec["task"])
        for text in notices:
            session.notice(text)
        if found is None:
            return StartPoint()
        path = found
    content = read_checkpoint(path, KEY)
    epoch, batches = position(content)
    if epoch >= options["num_epochs"]:
        raise SpecError(
            "E_SPEC_RESUME",
            f"{path} has trained {epoch} epochs already, and train.num_epochs is {options['num_epochs']}.",
            f"set train.num_epochs above {epoch}, or results_dir to a new folder to start afresh",
        )
    session.status.write("RUNNING", f"Resuming training from checkpoint: {path}")
    within = f", batch {batches + 1}" if batches else ""
    session.notice(f"training goes on from {path} with epoch {epoch + 1} of {options['num_epochs']}{within}.")
    session.checkpoints = earlier_checkpoints(session, path)
    return StartPoint(epoch, batches, path, content)


def position(content: dict[str, Any]) -> tuple[int, int]:
    """(epoch to train next, from 0; batches of it that are done), from the loops of a Lightning checkpoint."""
    epoch = int(content.get("epoch", -1))
    loop = content.get("loops", {}).get("fit_loop", {})
    epochs = loop.get("epoch_progress", {}).get("current", {})
    if epochs and epochs["processed"] < epochs["started"]:
        return epoch, int(loop["epoch_loop.batch_progress"]["current"]["processed"])
    return epoch + 1, 0


def earlier_checkpoints(session: Session, start: Path) -> list[dict[str, Any]]:
    """Entries of result.json for the checkpoints that earlier runs in this folder reported and that still exist.

    ``start`` is among them if it lies in the folder: a run may be killed between writing and reporting it.
    """
    log = session.run_dir / "events.jsonl"
    known: dict[str, dict[str, Any]] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else ():
        try:
            event = json.loads(line)
        except ValueError:  # the last line of a killed run
            continue
        if event.get("event") == "checkpoint" and (session.run_dir / event["path"]).is_file():
            known[event["path"]] = {name: event[name] for name in ("path", "epoch", "step", "metrics", "sha256")}
    name, number = session.relative(start), checkpoint_number(start.name)
    if name not in known and number is not None and start.resolve().parent == session.results_dir.resolve():
        epoch, step = number
        known[name] = {"path": name, "epoch": epoch, "step": step, "metrics": {}, "sha256": sha256_of(start)}
    return [entry | {"best": False, "last": False} for entry in known.values()]
