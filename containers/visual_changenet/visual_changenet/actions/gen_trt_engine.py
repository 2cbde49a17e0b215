"""Action gen_trt_engine: an ONNX file of ours as a TensorRT engine for the GPU of this machine."""

from __future__ import annotations

import time
from pathlib import Path

from visual_changenet.actions.card_spec import take_from_card
from visual_changenet.actions.prepare import check_rules
from visual_changenet.atomic import remove_leftovers, write_atomic
from visual_changenet.console import say
from visual_changenet.engine.request import Request, check_request
from visual_changenet.events import Progress
from visual_changenet.runtime.cuda import Cuda
from visual_changenet.runtime.sidecar import Host, Sidecar, sidecar_path
from visual_changenet.session import Session, sha256_of

MIB = 1 << 20


def gen_trt_engine(session: Session) -> None:
    """Build ``gen_trt_engine.onnx_file`` into an engine with its sidecar ``<name>.engine.json``.

    Raises:
        SpecError, MissingFileError, DataInvalidError: before any work; ``E_ENGINE_LIBRARY`` without TensorRT,
        ``E_ENGINE_GPU`` without a GPU. RunError: TensorRT refuses the model.
        CancelledError: after SIGINT or SIGTERM.
    """
    session.spec, notices = check_rules(session.spec, session.action)
    request = check_request(session.spec, session.results_dir)
    session.spec, taken = take_from_card(session.spec, request.card)
    session.save_spec()
    model = _model(session, request)
    from visual_changenet.runtime.tensorrt_runtime import host  # says what is missing where TensorRT is

    here = host(Cuda(session.spec["gen_trt_engine"]["gpu_id"]))
    session.environment |= {"tensorrt": here.tensorrt, "gpu": here.gpu}
    session.start("cuda")
    for text in (*notices, *taken, *request.notices):
        session.notice(text)
    begin = time.monotonic()
    engine = _built(session, request, model)
    _write(session, request, engine, here)
    session.metrics = {"build_s": time.monotonic() - begin, "engine_mib": len(engine) / MIB}
    low, best, high = request.profile
    say(
        f"{request.target}: {request.card.precision}, batch {low} to {high} (best {best}), "
        f"{session.metrics['engine_mib']:.1f} MiB, for {here.gpu} with TensorRT {here.tensorrt}"
    )


def _built(session: Session, request: Request, model: bytes) -> bytes:
    """The engine's bytes; the timing cache is read before and written after."""
    from visual_changenet.engine.builder import build

    options = session.spec["gen_trt_engine"]
    cache = Path(options["timing_cache"]) if options["timing_cache"] else None
    known = cache.read_bytes() if cache and cache.is_file() else b""
    progress = Progress(session.events, session.action, 2)
    progress.update(1, 0)
    workspace = options["tensorrt"]["workspace_size"]
    built = build(model, request.card, request.profile, workspace, known, options["verbose"])
    session.check_interrupted()
    progress.update(2, 0)
    for line in built.log:
        session.notice(f"TensorRT: {line}")
    if cache:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(cache, lambda stream: stream.write(built.timing_cache))
    return built.engine


def _write(session: Session, request: Request, engine: bytes, here: Host) -> None:
    """Engine and sidecar. That of an older engine goes first: a sidecar never describes another file."""
    target, (low, best, high) = request.target, request.profile
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    sidecar_path(target).unlink(missing_ok=True)
    write_atomic(target, lambda stream: stream.write(engine))
    Sidecar(
        card=request.card,
        engine_sha256=sha256_of(target),
        onnx=str(request.onnx.resolve()),
        onnx_sha256=sha256_of(request.onnx),
        host=here,
        profile=(low, best, high),
        layers_precision=tuple(session.spec["gen_trt_engine"]["tensorrt"]["layers_precision"]),
        spec=str((session.results_dir / "experiment.yaml").resolve()),
    ).write(target)
    session.add_artifact(target, "engine")
    session.add_artifact(sidecar_path(target), "sidecar")


def _model(session: Session, request: Request) -> bytes:
    """The ONNX model with the number formats that are asked for."""
    options = session.spec["gen_trt_engine"]["tensorrt"]
    data, texts = request.onnx.read_bytes(), options["layers_precision"]
    if options["data_type"] in ("fp32", "int8") and not texts:
        return data
    from visual_changenet.engine.precision import parse_overrides, with_formats

    return with_formats(data, options["data_type"], parse_overrides(texts))
