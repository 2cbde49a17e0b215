"""How long the command line takes from the shell's point of view, and what it imports.

Run: ``python benchmarks/startup.py``. Whole processes, ten each, one after the other, also of launches that are refused
for want of an engine or, where one answers, of an image; the last rows are the heavy packages that ``skillrun --help``
imports, with their cumulative import time.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from measure import measure, show

from skillrun.data.synth import synth
from skillrun.engine import reachable

REPEATS = 10
HEAVY = ("torch", "docker", "huggingface_hub", "optuna", "lightning", "numpy", "jsonschema", "pydantic", "rich")
COMMAND = str(Path(sys.executable).with_name("skillrun"))
IMPORT_LINE = re.compile(r"import time:\s+\d+ \|\s+(\d+) \|\s*(\S+)")


def run(*argv: str, cwd: Path, ends: int = 0, env: Mapping[str, str] | None = None) -> str:
    """Run to the end with that exit code; returns what was written to stderr."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        argv, cwd=cwd, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode != ends:
        raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}, not {ends}:\n{done.stderr}")
    return done.stderr


def heavy_imports(cwd: Path) -> dict[str, float]:
    """Heavy package → cumulative milliseconds of its import, for those that ``skillrun --help`` imports."""
    found: dict[str, float] = {}
    for line in run(sys.executable, "-X", "importtime", COMMAND, "--help", cwd=cwd).splitlines():
        match = IMPORT_LINE.match(line)
        if match and match[2] in HEAVY:
            found[match[2]] = int(match[1]) / 1000
        elif match and match[2].partition(".")[0] in HEAVY:
            found.setdefault(match[2].partition(".")[0], 0.0)
    return found


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synth(folder / "boards", pairs=16, size=32)
        data = ["--train-data", str(folder / "boards" / "train"), "--eval-data", str(folder / "boards" / "eval")]
        train = [COMMAND, "visual_changenet", "train", "--no-automl", "pretrained_backbone=", *data]
        contained = [*train, "--backend", "docker", "--gpus", "1"]
        absent = ["--image", "nobody/has-this:0", "--pull", "never"]
        nowhere = {"DOCKER_HOST": f"unix://{folder}/none.sock"}
        commands: dict[str, Callable[[], str]] = {
            "python -c pass": partial(run, sys.executable, "-c", "pass", cwd=folder),
            "skillrun --help": partial(run, COMMAND, "--help", cwd=folder),
            "skillrun visual_changenet train --dry-run": partial(run, *train, "--dry-run", cwd=folder),
            "skillrun doctor, no engine": partial(run, COMMAND, "doctor", cwd=folder, env=nowhere),
            "launch refused: no engine (exit 8)": partial(run, *contained, cwd=folder, ends=8, env=nowhere),
        }
        if reachable():
            commands["launch refused: no image (exit 5)"] = partial(run, *contained, *absent, cwd=folder, ends=5)
        rows: list[tuple[object, ...]] = []
        for label, command in commands.items():
            rows.append((label, *measure(command, REPEATS).cells()))
        if not reachable():
            rows.append(("launch refused: no image: not measured, no engine answers", "", ""))
        imports = heavy_imports(folder)
        rows += [(f"imported by --help: {package}", f"{taken:.1f}", "") for package, taken in imports.items()]
        if not imports:
            rows.append(("imported by --help: nothing heavy", "", ""))
    show(f"Start-up, whole processes, {REPEATS} each", ("", "median ms", "min–max"), rows)


if __name__ == "__main__":
    main()
