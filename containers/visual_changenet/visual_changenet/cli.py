"""The command ``visual_changenet <action> -e spec.yaml [a.b=value ...]``, and two tools for checkpoint files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from visual_changenet.errors import ChangeNetError, RunError

if TYPE_CHECKING:
    from visual_changenet.session import Session

ACTIONS = ("train", "evaluate", "inference", "export")
TOOLS = ("convert-checkpoint", "export-checkpoint")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual_changenet",
        description="Compare a test image with its golden image.",
        epilog=f"Checkpoint files: visual_changenet {{{','.join(TOOLS)}}} --help",
        allow_abbrev=False,
    )
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument(
        "-e",
        "--experiment_spec_file",
        required=True,
        type=Path,
        metavar="SPEC",
        help="YAML file with the spec",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="spec keys to set, e.g. train.num_epochs=5")
    return parser


def _tool_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="visual_changenet", allow_abbrev=False)
    tools = parser.add_subparsers(dest="tool", required=True)
    about = {
        "convert-checkpoint": "Make a file of plain tensors from one that would run code when read.",
        "export-checkpoint": "Write a checkpoint in the layout that the published package loads.",
    }
    for name in TOOLS:
        tool = tools.add_parser(name, help=about[name], description=about[name], allow_abbrev=False)
        if name == "export-checkpoint":
            tool.add_argument("--format", choices=("tao",), default="tao", help="layout of OUT")
        tool.add_argument("source", type=Path, metavar="IN", help="the file to read")
        tool.add_argument("target", type=Path, metavar="OUT", help="the new file: .pth, or .safetensors to convert")
    return parser


def _run_tool(tool: str, source: Path, target: Path) -> None:
    if tool == "convert-checkpoint":
        from visual_changenet.actions.convert_checkpoint import convert_checkpoint as run
    else:
        from visual_changenet.actions.export_checkpoint import export_checkpoint as run
    with _files_reported():
        run(source, target)


@contextmanager
def _files_reported() -> Iterator[None]:
    """Turn the operating system's refusals into errors that name the place."""
    try:
        yield
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise RunError(
            "E_RUN_FILES",
            f"{error.strerror or error}{place}.",
            "free or correct the path, then start again",
        ) from error


def _action(name: str) -> Callable[[Session], None]:
    if name == "train":
        from visual_changenet.actions.train import train

        return train
    if name == "evaluate":
        from visual_changenet.actions.evaluate import evaluate

        return evaluate
    if name == "export":
        from visual_changenet.actions.export import export

        return export
    from visual_changenet.actions.inference import inference

    return inference


def _run(action: str, spec_file: Path, overrides: list[str]) -> None:
    from visual_changenet.session import Session
    from visual_changenet.spec import load_spec

    spec = load_spec(spec_file, overrides)
    with Session(action, spec) as session, _files_reported():
        _action(action)(session)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one action or tool; returns the exit code (0, 2, 5, 7, 9, 11, 130). Unexpected errors are raised (1)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_tool = bool(words) and words[0] in TOOLS
    options = _tool_parser().parse_args(words) if is_tool else _parser().parse_intermixed_args(words)
    try:
        if is_tool:
            _run_tool(options.tool, options.source, options.target)
        else:
            _run(options.action, options.experiment_spec_file, options.overrides)
    except ChangeNetError as error:
        from visual_changenet.console import complain

        complain(f"error[{error.code}]: {error.message}" + (f"\n  fix: {error.fix}" if error.fix else ""))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
