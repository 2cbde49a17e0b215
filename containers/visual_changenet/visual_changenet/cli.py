"""The command ``visual_changenet <action> -e spec.yaml [a.b=value ...]``, and its tools."""

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

ACTIONS = ("train", "evaluate", "inference", "export", "quantize", "gen_trt_engine", "trt_evaluate", "trt_inference")
TOOLS = ("convert-checkpoint", "export-checkpoint")
PREDICT = "predict"
ENGINE_ACTION = "trt_"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual_changenet",
        description="Compare a test image with its golden image.",
        epilog=f"Tools: visual_changenet {{{','.join((PREDICT, *TOOLS))}}} --help",
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


def _predict_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"visual_changenet {PREDICT}",
        description="Compare one pair of images, or two folders whose files have the same names.",
        allow_abbrev=False,
    )
    parser.add_argument("--model", type=Path, required=True, help="an .onnx, .engine or .pth file of ours")
    parser.add_argument("--golden", type=Path, required=True, metavar="IMG|DIR", help="what it should look like")
    parser.add_argument("--test", type=Path, required=True, metavar="IMG|DIR", help="what is inspected")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for predictions.csv, pictures and masks")
    parser.add_argument("--json", action="store_true", help="one JSON object per pair on stdout")
    parser.add_argument(
        "--margin", type=float, metavar="X", help="a score above it is a defect; the model's if left out"
    )
    parser.add_argument("--device", choices=("auto", "gpu", "cpu"), default="auto", help="where to compute")
    return parser


def _run_predict(options: argparse.Namespace) -> None:
    from visual_changenet.actions.predict import predict

    with _files_reported():
        predict(
            options.model,
            options.golden,
            options.test,
            out=options.out,
            as_json=options.json,
            margin=options.margin,
            device=options.device,
        )


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
    if name == "gen_trt_engine":
        from visual_changenet.actions.gen_trt_engine import gen_trt_engine

        return gen_trt_engine
    if name == "export":
        from visual_changenet.actions.export import export

        return export
    if name == "quantize":
        from visual_changenet.actions.quantize import quantize

        return quantize
    from visual_changenet.actions.inference import inference

    return inference


def _run(action: str, spec_file: Path, overrides: list[str]) -> None:
    from visual_changenet.session import Session
    from visual_changenet.spec import load_spec

    spec = load_spec(spec_file, overrides)
    if action.startswith(ENGINE_ACTION):
        action = action.removeprefix(ENGINE_ACTION)
        spec[action]["checkpoint"] = ""  # the same spec may name both; the engine is asked for
    with Session(action, spec) as session, _files_reported():
        _action(action)(session)


def _dispatch(words: list[str]) -> None:
    first = words[0] if words else ""
    if first == PREDICT:
        _run_predict(_predict_parser().parse_args(words[1:]))
    elif first in TOOLS:
        options = _tool_parser().parse_args(words)
        _run_tool(options.tool, options.source, options.target)
    else:
        options = _parser().parse_intermixed_args(words)
        _run(options.action, options.experiment_spec_file, options.overrides)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one action or tool; returns the exit code (0, 2, 5, 7, 9, 11, 130). Unexpected errors are raised (1)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(words)
    except ChangeNetError as error:
        from visual_changenet.console import complain

        complain(f"error[{error.code}]: {error.message}" + (f"\n  fix: {error.fix}" if error.fix else ""))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
