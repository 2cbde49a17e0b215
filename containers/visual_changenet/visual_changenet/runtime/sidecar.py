"""The JSON beside an engine: what it is, what it was built from, and where it can run."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from visual_changenet.atomic import write_text_atomic
from visual_changenet.errors import DataInvalidError, MissingFileError
from visual_changenet.runtime.card import Card
from visual_changenet.session import sha256_of


@dataclass(frozen=True)
class Host:
    """What an engine is tied to.

    Attributes:
        tensorrt: version, e.g. ``11.4.0.106``.
        gpu: name of the GPU. compute_capability: e.g. ``8.9``.
        driver: newest version of CUDA that the driver knows, e.g. ``13.0``; engines do not depend on it.
    """

    tensorrt: str
    gpu: str
    compute_capability: str
    driver: str


@dataclass(frozen=True)
class Sidecar:
    """What stands in ``<name>.engine.json``.

    Attributes:
        card: of the ONNX file, with the engine's precision.
        engine_sha256: of the engine file.
        onnx: absolute path of the ONNX file when the engine was built. onnx_sha256: its digest then.
        host: where it was built.
        profile: fewest, best and most pairs at once.
        layers_precision: formats of single layers, as in the spec.
        spec: path of the ``experiment.yaml`` of the build.
    """

    card: Card
    engine_sha256: str
    onnx: str
    onnx_sha256: str
    host: Host
    profile: tuple[int, int, int]
    layers_precision: tuple[str, ...]
    spec: str

    def rebuild(self, engine: Path) -> str:
        """The command that builds the engine anew on this machine."""
        words = ["visual_changenet", "gen_trt_engine", "-e", self.spec, f"gen_trt_engine.onnx_file={self.onnx}"]
        return shlex.join([*words, f"gen_trt_engine.trt_engine={engine}", "gen_trt_engine.overwrite=true"])

    def write(self, engine: Path) -> None:
        """Write beside the engine, whole or not at all."""
        write_text_atomic(sidecar_path(engine), _SIDECAR.dump_json(self, indent=1).decode() + "\n")

    def onnx_file(self, engine: Path) -> Path | None:
        """The ONNX file with the recorded digest: where it was, or of the same name beside the engine; else None."""
        for path in (Path(self.onnx), engine.with_name(Path(self.onnx).name)):
            if path.is_file() and sha256_of(path) == self.onnx_sha256:
                return path
        return None

    def check(self, engine: Path, here: Host) -> None:
        """Compare with the file and with this machine, before TensorRT reads a byte.

        Raises:
            DataInvalidError: ``E_ENGINE_MISMATCH`` with the command that rebuilds the engine.
        """
        differences = []
        if sha256_of(engine) != self.engine_sha256:
            differences.append("its content is not what was built")
        if here.tensorrt != self.host.tensorrt:
            differences.append(f"it was built by TensorRT {self.host.tensorrt}, here is {here.tensorrt}")
        ours, theirs = (f"{host.gpu} (compute capability {host.compute_capability})" for host in (here, self.host))
        if ours != theirs:
            differences.append(f"it was built for {theirs}, here is {ours}")
        if differences:
            raise DataInvalidError(
                "E_ENGINE_MISMATCH", f"{engine} can not be used: {'; '.join(differences)}.", self.rebuild(engine)
            )


def sidecar_path(engine: Path) -> Path:
    """``model.engine.json`` for ``model.engine``."""
    return engine.with_name(engine.name + ".json")


def read_sidecar(engine: Path) -> Sidecar:
    """The sidecar of an engine.

    Raises:
        MissingFileError: ``E_ENGINE_SIDECAR`` (absent). DataInvalidError: ``E_ENGINE_SIDECAR`` (can not be read).
    """
    path = sidecar_path(engine)
    fix = "copy it together with the engine, or build the engine with visual_changenet gen_trt_engine"
    if not path.is_file():
        raise MissingFileError("E_ENGINE_SIDECAR", f"{engine} has no {path.name} beside it.", fix)
    try:
        return _SIDECAR.validate_json(path.read_bytes())
    except ValidationError as error:
        problem: Any = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the text"
        raise DataInvalidError(
            "E_ENGINE_SIDECAR", f"{path} can not be read: {place}: {problem['msg']}.", fix
        ) from error


_SIDECAR = TypeAdapter(Sidecar)
