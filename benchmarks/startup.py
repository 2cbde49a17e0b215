"""How long the command line takes from the shell's point of view, and what it imports.

Run: ``python benchmarks/startup.py``. Whole processes, ten each, one after the other;
the last rows are the heavy packages that ``skillrun --help`` imports, with their cumulative import time.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from measure import measure, show

from skillrun.data.synth import synth

REPEATS = 10
HEAVY = ("torch", "docker", "huggingface_hub", "optuna", "lightning", "numpy", "jsonschema", "pydantic", "rich")
COMMAND = str(Path(sys.executable).with_name("skillrun"))
IMPORT_LINE = re.compile(r"import time:\s+\d+ \|\s+(\d+) \|\s*(\S+)")


def run(*argv: str, cwd: Path) -> str:
    """Run to a successful end; returns what was written to stderr."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True)
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
        dry_run = [COMMAND, "visual_changenet", "train", "--dry-run", "--no-automl", "pretrained_backbone=", *data]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "skillrun --help": [COMMAND, "--help"],
            "skillrun visual_changenet train --dry-run": dry_run,
        }
        rows: list[tuple[object, ...]] = []
        for label, argv in commands.items():
            timing = measure(partial(run, *argv, cwd=folder), REPEATS)
            rows.append((label, *timing.cells()))
        imports = heavy_imports(folder)
        rows += [(f"imported by --help: {package}", f"{taken:.1f}", "") for package, taken in imports.items()]
        if not imports:
            rows.append(("imported by --help: nothing heavy", "", ""))
    show(f"Start-up, whole processes, {REPEATS} each", ("", "median ms", "min–max"), rows)


if __name__ == "__main__":
    main()
