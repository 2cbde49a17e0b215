"""The command ``visual_changenet <action> -e spec.yaml [a.b=value ...]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from visual_changenet.errors import ChangeNetError, RunError

if TYPE_CHECKING:
    from visual_changenet.session import Session

ACTIONS = ("train", "evaluate", "inference")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="visual_changenet", description="Compare a test image with its golden image.", allow_abbrev=False
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


def _action(name: str) -> Callable[[Session], None]:
    if name == "train":
        from visual_changenet.actions.train import train

        return train
    if name == "evaluate":
        from visual_changenet.actions.evaluate import evaluate

        return evaluate
    from visual_changenet.actions.inference import inference

    return inference


def _run(action: str, spec_file: Path, overrides: list[str]) -> None:
    from visual_changenet.session import Session
    from visual_changenet.spec import load_spec

    spec = load_spec(spec_file, overrides)
    with Session(action, spec) as session:
        try:
            _action(action)(session)
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            raise RunError(
                "E_RUN_FILES",
                f"{error.strerror or error}{place}.",
                "free or correct the path, then start again",
            ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one action; returns the exit code (0, 2, 5, 7, 9, 130). Unexpected errors are raised (1)."""
    options = _parser().parse_intermixed_args(arguments)
    try:
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
