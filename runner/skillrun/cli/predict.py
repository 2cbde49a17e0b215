"""``skillrun <model> predict``: one pair, or two folders, by a run's model or a model file, here and now."""

from __future__ import annotations

import re
import shlex
import subprocess
from json import loads
from pathlib import Path
from typing import Annotated, Any

import typer

from skillrun.cli.options import Json, Workspace
from skillrun.cli.output import Output

Model = Annotated[str, typer.Option("--model", metavar="RUN|FILE", help="A run, or a checkpoint, ONNX file or engine.")]
Golden = Annotated[Path, typer.Option("--golden", metavar="IMG|DIR", help="Golden image, or a folder of them.")]
Test = Annotated[Path, typer.Option("--test", metavar="IMG|DIR", help="Test image, or a folder with the same names.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for masks and pictures.")]
Margin = Annotated[
    float | None, typer.Option("--margin", help="A score above it is a defect (default: as the model was made).")
]
Pick = Annotated[str, typer.Option("--pick", help="Which checkpoint of a training: best, last, epoch=N, step=N.")]
# How the model's program tells why it ended.
_REFUSAL = re.compile(r"^error\[(?P<code>\w+)\]: (?P<message>.*)(?:\n  fix: (?P<fix>.*))?", re.MULTILINE)


def command(name: str) -> Any:
    """The command of one model; its own program answers, so that nothing heavy is loaded for anything else."""

    def predict(
        model: Model,
        golden: Golden,
        test: Test,
        out: Out = None,
        margin: Margin = None,
        pick: Pick = "best",
        json: Json = False,
        workspace: Workspace = None,
    ) -> None:
        """Compare a test image with its golden image: score, decision, mask and picture."""
        from skillrun.backends.local import find_command
        from skillrun.lineage import model_of
        from skillrun.runfolder import workspace as resolve

        words = [find_command(name), "predict", "--model", str(model_of(model, resolve(workspace), pick))]
        words += ["--golden", str(golden), "--test", str(test)]
        words += ["--out", str(out)] if out else []
        words += ["--margin", f"{margin!r}"] if margin is not None else []
        if not json:
            raise typer.Exit(subprocess.run(words, check=False).returncode)
        return _answer([*words, "--json"], Output(json))

    return predict


def _answer(words: list[str], output: Output) -> None:
    """The predictions of the model's program as one document; where it refuses, its own error and exit code."""
    from skillrun.errors import RunFailedError

    done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    refusal = _REFUSAL.search(done.stderr)
    if notices := done.stderr[: refusal.start() if refusal else None].strip():
        output.say(notices)
    if done.returncode == 0:
        return output.data({"predictions": [loads(line) for line in done.stdout.splitlines()]}, "")
    if refusal is None:
        fix = shlex.join(word for word in words if word != "--json")
        raise RunFailedError("E_RUN_FAILED", f"the model's program ended with {done.returncode}.", fix)
    told = {name: text or "" for name, text in refusal.groupdict().items()}
    output.error({**told, "retryable": False, "exit_code": done.returncode})
    raise typer.Exit(done.returncode)
