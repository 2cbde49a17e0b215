"""Runs one command, and writes down how it ended, whether or not anybody is watching.

Started by the local backend in a session of its own (``python supervisor.py RUN_FOLDER``), so that neither a closed
terminal nor a killed launcher ends the run. Standard library only: it must start in milliseconds and never fail on
an import.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType


def main(folder: Path) -> int:
    """Run the command of ``launch.json`` with output to ``stdout.log``; the exit code goes to ``exit.json``."""
    request = json.loads((folder / "launch.json").read_text(encoding="utf-8"))
    started = time.time()
    with (folder / "stdout.log").open("ab") as log:
        child = subprocess.Popen(
            request["argv"],
            env={**os.environ, **request["env"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )

        def forward(number: int, _frame: FrameType | None) -> None:
            if child.poll() is None:
                os.killpg(child.pid, number)

        signal.signal(signal.SIGTERM, forward)
        signal.signal(signal.SIGINT, forward)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        code = child.wait()
    _write(folder / "exit.json", {"exit_code": code if code >= 0 else 128 - code, "seconds": time.time() - started})
    return 0


def _write(path: Path, value: dict[str, float]) -> None:
    aside = path.with_suffix(".tmp")
    with aside.open("w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
