"""The command ``visual_changenet`` of a stand-in for NVIDIA's published container. It is not NVIDIA's program.

Runs inside an image made from our CPU image (see ``test_tao_container.py``). Our own code does the work; around it
stands what the published command is known to do otherwise: it refuses keys that it does not know, says little when it
fails, counts an interruption as a pass, ends its status file without ``SUCCESS``, and leaves no file that the runner's
own container leaves. What it can not stand in for: GPUs, NVIDIA's arithmetic and the size of its image.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

import visual_changenet.session as our_session
from visual_changenet.cli import main as our_main
from visual_changenet.status import State, StatusLog

KNOWN_KEYS = Path("/opt/standin/known_keys.json")
# The published command leaves these in the folder of its action, and nothing else.
LEFT = ("experiment.yaml", "status.json", "model_epoch_*.pth", "changenet_model_*_latest.pth", "lightning_logs")
PICTURES = ("combined_visualisation", "*.jpg")
# Errors of other kinds end the published command without a line in its status file.
RECORDED = ("Configuration error:", "Parameter validation error:", "File system error:", "User/System interruption:")
# Set to lose the checkpoints of a training that says that it went well.
LOSES = "STANDIN_LOSES_CHECKPOINTS"


class PublishedStatus(StatusLog):
    """Its last line says RUNNING, and it does not know of every failure."""

    def write(
        self,
        status: State,
        message: str,
        *,
        kpi: dict[str, float] | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Append a line, unless the published command would not."""
        if status != "FAILURE" or message.startswith(RECORDED):
            super().write("RUNNING" if status == "SUCCESS" else status, message, kpi=kpi, data=data)


def log(level: str, message: str) -> None:
    """A line in the published log format."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S")
    sys.stderr.write(f"{moment},000 - [TAO Toolkit] - {level} - {message} (entrypoint.py:300)\n")
    sys.stderr.flush()


def keys_of(spec: Any, above: str = "") -> Iterator[str]:
    """Dotted keys of a spec; an empty table is a key."""
    if isinstance(spec, dict) and spec:
        for name, value in spec.items():
            yield from keys_of(value, f"{above}.{name}" if above else str(name))
    else:
        yield above


def refuse_unknown(spec: dict[str, Any]) -> None:
    """The published configuration is closed: the first key that it does not know ends the run."""
    known = set(json.loads(KNOWN_KEYS.read_text(encoding="utf-8")))
    for key in keys_of(spec):
        if not any(key == name or key.startswith(f"{name}.") for name in known):
            raise KeyError(f"Key '{key.rpartition('.')[2]}' not in 'ExperimentConfig'\n    full_key: {key}")


def refuse_input(action: str, spec: dict[str, Any]) -> None:
    """Its backbone is a local file or nothing, and a list shorter than one batch is too short."""
    backbone = spec["model"]["backbone"].get("pretrained_backbone_path")
    if backbone:
        with Path(backbone).open("rb"):
            pass
    if action == "train" and spec["task"] == "classify":
        data = spec["dataset"]["classify"]
        rows = len(Path(data["train_dataset"]["csv_path"]).read_text(encoding="utf-8").splitlines()) - 1
        if rows < data["batch_size"]:
            raise ValueError(
                f"Dataset size ({rows}) is smaller than the total batch size ({data['batch_size']}). "
                "Not enough data for train."
            )


def leave_only_what_the_published_command_leaves(folder: Path, action: str, task: str) -> None:
    """Remove everything else from the folder of an action."""
    kept = [*LEFT]
    if action != "train" and task == "segment":
        kept += PICTURES
    if action == "inference" and task == "classify":
        kept += ["inference.csv"]
    if os.environ.get(LOSES):
        kept = [pattern for pattern in kept if not pattern.endswith(".pth")]
    for path in folder.iterdir():
        if path.name != "worst_cases.jpg" and any(fnmatch.fnmatch(path.name, pattern) for pattern in kept):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def run(action: str, spec_file: Path, spec: dict[str, Any]) -> int:
    """Run an action with our code; the exit code is that of the published command."""
    folder = our_session.results_dir(spec, action)
    folder.mkdir(parents=True, exist_ok=True)
    status = PublishedStatus(folder / "status.json")
    try:
        refuse_input(action, spec)
    except (OSError, ValueError) as error:
        status.write("STARTED", f"Starting Visual ChangeNet {action}.")
        kind = "File system" if isinstance(error, OSError) else "Parameter validation"
        status.write("FAILURE", f"{kind} error: {error}")
        traceback.print_exc()
        return 1
    os.environ[our_session.RUN_DIR_VARIABLE] = "/tmp/what-the-published-command-does-not-write"
    our_session.StatusLog = PublishedStatus  # type: ignore[attr-defined]
    code = our_main([action, "-e", str(spec_file), "train.threads=1"])
    leave_only_what_the_published_command_leaves(folder, action, spec["task"])
    return 0 if code in (0, 130) else 1


def main() -> int:
    """Parse the command line as published: the action, then ``-e`` and the spec."""
    parser = argparse.ArgumentParser(prog="visual_changenet", allow_abbrev=False)
    parser.add_argument("action", choices=("train", "evaluate", "inference", "export"))
    parser.add_argument("-e", "--experiment_spec_file", type=Path, default=Path())
    words = parser.parse_args()
    if not words.experiment_spec_file.is_file():
        sys.stderr.write(f"ERROR: The subtask `{words.action}` requires -e <spec file>\n")
        return 1
    spec = yaml.safe_load(words.experiment_spec_file.read_text(encoding="utf-8"))
    try:
        refuse_unknown(spec)
    except KeyError as error:
        sys.stderr.write(f"Error merging '{words.experiment_spec_file.name}' with schema\n{error.args[0]}\n")
        code = 1
    else:
        code = run(words.action, words.experiment_spec_file, spec)
    log("WARNING" if code else "INFO", f"Execution status: {'FAIL' if code else 'PASS'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
