"""The weights that a training starts from: do they fit the backbone that the spec asks for?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from skillrun.errors import DataError
from skillrun.overrides import get_dotted
from skillrun.staging.backbone import KEY, TYPE
from skillrun.staging.sources import is_remote

SAFETENSORS = ".safetensors"


def check_weights(spec: Mapping[str, Any], action: str) -> None:
    """Look at the backbone weights that the spec names, where the action reads them: all trainings do.

    Of a ``.safetensors`` file the header is read, of any other its first byte: what a torch file holds is for the
    container to say, because reading it can run code.

    Raises:
        DataError: ``E_WEIGHTS_FAMILY``: weights of another backbone than ``model.backbone.type``;
            ``E_WEIGHTS_FILE``: no sound file; ``E_WEIGHTS_SOURCE``: a source or a folder in the place of a file.
        NotFoundError: ``E_WEIGHTS_MISSING``.
    """
    given = str(get_dotted(spec, KEY) or "")
    if action.removeprefix("segment_") != "train" or not given:
        return
    _require_one_file(given)
    path = Path(given)
    if path.suffix == SAFETENSORS:
        _check_family(path, str(get_dotted(spec, TYPE) or ""))
    else:
        _check_readable(path)


def _require_one_file(given: str) -> None:
    path = Path(given)
    if is_remote(given):
        raise DataError(
            "E_WEIGHTS_SOURCE",
            f"{KEY}={given!r} is a source of weights, but a run reads a local file",
            f"skillrun stage {quote(given)}, then {KEY}=<the path that it prints>",
        )
    if path.is_dir():
        inside = sorted(child for child in path.glob(f"*{SAFETENSORS}") if child.is_file())
        file = inside[0] if len(inside) == 1 else path / "<file>"
        raise DataError(
            "E_WEIGHTS_SOURCE",
            f"{KEY}={given!r} is a folder, but a run reads one file of weights",
            f"{quote(f'{KEY}={file}')}, or name another file",
        )


def _check_family(path: Path, kind: str) -> None:
    from skillrun.weights import BACKBONES, fitting_types, identify, read_header

    found = identify(read_header(path))
    wanted = BACKBONES.get(kind)
    if wanted is None or found.fits(wanted):
        return
    fitting = fitting_types(found)
    others = f" (or {', '.join(fitting[1:])}: their weights look alike)" if fitting[1:] else ""
    fix = f"{TYPE}={fitting[0]}{others}" if fitting else f"give {KEY} a file of {wanted}"
    raise DataError("E_WEIGHTS_FAMILY", f"{path} is {found}, but {TYPE}={kind} needs {wanted}", fix)


def _check_readable(path: Path) -> None:
    from skillrun.weights.header import require_file, unreadable

    try:
        require_file(path)
        with path.open("rb") as stream:
            stream.read(1)
    except OSError as error:
        unreadable(path, error.strerror or type(error).__name__)
