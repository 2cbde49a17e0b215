"""Action quantize: a smaller model, kept only where it decides as well as the one it was made from."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from visual_changenet.actions.card_spec import take_from_card
from visual_changenet.actions.export import run_of
from visual_changenet.actions.opening import open_model
from visual_changenet.actions.prepare import check_rules
from visual_changenet.actions.quantize_gate import Sides, find_evaluation, judge, past_specs, start_report
from visual_changenet.checkpoints import load_weights, read_checkpoint, write_checkpoint
from visual_changenet.device import set_threads
from visual_changenet.errors import MissingFileError
from visual_changenet.export.graph import make_card, write_graph
from visual_changenet.export.pairs import Pairs
from visual_changenet.export.target import Target, input_size, written_beside
from visual_changenet.models import Network, build_model
from visual_changenet.quantize import torchao_weights
from visual_changenet.quantize.measure import TorchRun
from visual_changenet.quantize.patterns import Layer, choose_formats
from visual_changenet.quantize.request import MODELOPT_ONNX, TORCHAO, check_request, has_modelopt, is_onnx
from visual_changenet.quantize.sources import calibration_pairs
from visual_changenet.quantize.stored import dequantized
from visual_changenet.runtime import Device
from visual_changenet.runtime.card import Card
from visual_changenet.session import Session, sha256_of

OPSET = 17


def quantize(session: Session) -> None:
    """Quantize ``quantize.model_path``; the file, quantize.json beside it, and a table.

    Raises:
        SpecError: before any work. MissingFileError, DataInvalidError: the model or the data can not be used.
        RejectedError: ``E_QUANTIZE_DROP``; the file is kept as ``<name>.rejected``.
        CancelledError: after SIGINT or SIGTERM.
    """
    options = session.spec["quantize"]
    check_request(options)
    graph = options["backend"] != TORCHAO
    session.spec["train"]["device"] = "cpu" if graph or options["device"] == "cpu" else "auto"
    if graph:
        _quantize_graph(session)
    else:
        _quantize_weights(session)


def _quantize_weights(session: Session) -> None:
    network, device = open_model(session)
    _tell_device(session)
    session.notice("torchao has small weights for linear layers only: convolutions stay in float32.")
    options, source = session.spec["quantize"], Path(session.spec["quantize"]["model_path"])
    layers = torchao_weights.layers_of(network)
    formats = choose_formats(options, layers, torchao_weights.FORMATS)
    data = find_evaluation(session, [session.spec, *past_specs(source)])
    card = _card_of(session, network, source)
    target = session.results_dir / torchao_weights.FILE
    with written_beside(target) as temporary:
        state = torchao_weights.quantized_state(copy.deepcopy(network).cpu(), formats)
        library = f"torchao {version('torchao')}"
        content = {
            "state_dict": state,
            "spec": session.spec,
            "tao_model": f"visual_changenet_{card.task}",
            "quantization": {"library": library, "formats": formats},
        }
        write_checkpoint(content, temporary)
        reopened = _reopened(session, temporary).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        old_bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
        sides = Sides(card, old_bytes, temporary, TorchRun(network, device), TorchRun(reopened, device))
        report = start_report(session, target, library, layers, formats)
        judge(session, sides, replace(report, provider=device.type), data, target, "model")


def _tell_device(session: Session) -> None:
    wanted = session.spec["quantize"]["device"]
    if wanted != "cpu" and not torch.cuda.is_available():
        session.notice(f"quantize.device is {wanted}, but there is no GPU: the CPU computes.")


def _reopened(session: Session, path: Path) -> Network:
    """What evaluate gets from a quantized checkpoint."""
    content = dequantized(read_checkpoint(path, "quantize.model_path"))
    network = build_model(session.spec)
    load_weights(network, content, path)
    return network.eval()


def _quantize_graph(session: Session) -> None:
    from visual_changenet.quantize import qdq
    from visual_changenet.runtime.onnx_runtime import OnnxRuntime

    with _graph(session) as (source, past, network):
        _tell_device(session)
        options, card = session.spec["quantize"], OnnxRuntime(source, "cpu").card
        model, layers = qdq.folded(source)
        formats = choose_formats(options, layers, qdq.FORMATS)
        specs = [session.spec, *past]
        data = find_evaluation(session, specs)
        pairs, own = calibration_pairs(specs)
        if not own:
            session.notice(f"no calibration images are given: {len(pairs)} pairs of {pairs.source} calibrate.")
        target = session.results_dir / qdq.FILE
        device: Device = "cpu" if options["device"] == "cpu" else "auto"
        threads = torch.get_num_threads()
        before = OnnxRuntime(source, device, threads)
        with written_beside(target) as temporary:
            if has_modelopt():
                library = _by_modelopt(session, network, card, source, temporary, layers, formats, pairs)
            else:
                session.notice("modelopt is not installed: ONNX Runtime's quantizer writes the ONNX file.")
                library = qdq.write_quantized(model, card, temporary, list(formats), pairs, before.batch, options)
            session.check_interrupted()
            sides = Sides(card, source.stat().st_size, temporary, before, OnnxRuntime(temporary, device, threads))
            report = start_report(session, target, library, layers, formats)
            report = replace(report, calibration=pairs.source, calibration_pairs=len(pairs), provider=before.provider)
            judge(session, sides, report, data, target, "onnx")


def _by_modelopt(
    session: Session,
    network: Network | None,
    card: Card,
    source: Path,
    written: Path,
    layers: Sequence[Layer],
    formats: Mapping[str, str],
    pairs: Pairs,
) -> str:
    from visual_changenet.quantize import modelopt_backend

    options = session.spec["quantize"]
    if network is None or options["backend"] == MODELOPT_ONNX:
        left = [layer.key for layer in layers if layer.key not in formats]
        return modelopt_backend.quantize_graph(source, card, written, left, pairs, options)
    modules = {layer.names[0] for layer in layers if layer.key in formats}
    return modelopt_backend.quantize_network(network, card, Target(written, OPSET, None), modules, pairs, options)


@contextmanager
def _graph(session: Session) -> Iterator[tuple[Path, list[dict[str, Any]], Network | None]]:
    """The ONNX file to quantize, the specs of its past, and the network it was just exported from, if it was."""
    source = Path(session.spec["quantize"]["model_path"] or "")
    if is_onnx(session.spec["quantize"]):
        _take_card(session, source)
        yield source, past_specs(source), None
        return
    network, _ = open_model(session)
    card = _card_of(session, network, source)
    with TemporaryDirectory(prefix="quantize-") as scratch:
        path = Path(scratch) / "model.onnx"
        write_graph(network, card, Target(path, OPSET, None), path)
        yield path, past_specs(source), network


def _take_card(session: Session, path: Path) -> None:
    """The session's spec with the geometry of an exported model."""
    from visual_changenet.runtime.onnx_runtime import OnnxRuntime

    if not path.is_file():
        raise MissingFileError(
            "E_MODEL_MISSING", f"quantize.model_path is {str(path)!r}, which is not a file.", "name an .onnx file"
        )
    card = OnnxRuntime(path, "cpu").card
    session.spec, notices = take_from_card(session.spec, card)
    if card.task == "classify":
        session.spec["train"]["classify"]["loss"] = "contrastive" if card.score == "distance" else "ce"
    session.save_spec()
    session.spec, mended = check_rules(session.spec, session.action)
    session.environment |= {"threads": set_threads(session.spec)}
    session.start("cpu")
    for text in (*notices, *mended):
        session.notice(text)


def _card_of(session: Session, network: Network, source: Path) -> Card:
    size = input_size(session.spec)
    session.save_spec()
    digest = sha256_of(session.results_dir / "experiment.yaml")
    return make_card(session.spec, network, size, digest, run_of(source))
