"""What somebody needs to get the same numbers again: command, changed spec values, versions, digests."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any

from skillrun import __version__, bank
from skillrun.errors import NotFoundError, UsageError
from skillrun.overrides import flatten
from skillrun.report.subject import Told

LARGEST = 256_000_000
_OWN = ("results_dir",)


def numbers(run: Told) -> dict[str, Any]:
    """Command, differences from the template, versions, and digests of plan, checkpoint and data list."""
    environment = run.result.get("environment") or {}
    return {
        "command": command(run),
        "started": run.result.get("started") or run.record.get("created"),
        "seconds": run.result.get("seconds"),
        "differences": differences(run),
        "versions": {"skillrun": run.plan.get("skillrun_version") or __version__, **environment},
        "backend": run.record.get("backend"),
        "image": run.plan.get("image") if run.record.get("backend") == "docker" else None,
        "hashes": {name: digest for name, digest in _hashes(run).items() if digest},
    }


def command(run: Told) -> str:
    """The same spec once more, into a folder of its own."""
    model = str(run.record.get("model") or "visual_changenet")
    action = str(run.record.get("action") or run.action)
    parts = ["skillrun", model, action]
    parts += ["--no-automl"] if run.action == "train" else []
    return shlex.join([*parts, "--spec", str(run.folder.spec), "--results", f"again-{run.run_id}"])


def differences(run: Told) -> list[dict[str, Any]]:
    """Every key whose value is not the template's, except where the run writes."""
    model, action = str(run.record.get("model") or ""), str(run.record.get("action") or "")
    try:
        known = bank.keys(model, action)
        usual = flatten(bank.defaults(model, action), known)
    except (NotFoundError, UsageError):  # a run of another version's action
        return []
    now = flatten(run.spec, known)
    return [
        {"key": key, "value": value, "template": usual.get(key)}
        for key, value in sorted(now.items())
        if key not in _OWN and value != usual.get(key)
    ]


def _hashes(run: Told) -> dict[str, str | None]:
    checkpoint = run.parent.get("sha256")
    if run.action == "train":
        best: dict[str, Any] = next((entry for entry in run.result.get("checkpoints") or [] if entry.get("best")), {})
        checkpoint = best.get("sha256")
    return {
        "plan": run.plan.get("plan_hash"),
        "checkpoint": checkpoint,
        "data list": sha256_of(run.data_list) if run.data_list else None,
    }


def sha256_of(path: Path) -> str | None:
    """The digest of a file; None where it is gone or too large to be a list of pairs."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
