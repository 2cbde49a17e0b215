"""Action export: a checkpoint as ONNX, proven against the checkpoint before it gets its name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visual_changenet.actions.opening import open_model
from visual_changenet.checkpoints import read_checkpoint
from visual_changenet.console import say
from visual_changenet.events import Progress
from visual_changenet.export.deepstream import check_deepstream, write_deepstream
from visual_changenet.export.graph import Exported, make_card, onnx, write_graph
from visual_changenet.export.pairs import SYNTHETIC, Pairs, find_pairs
from visual_changenet.export.parity import BATCHES, FILE, Parity, compare
from visual_changenet.export.target import Target, check_target, input_size, publish, written_beside
from visual_changenet.models import Network
from visual_changenet.runtime import Floats
from visual_changenet.runtime.card import Card
from visual_changenet.runtime.onnx_runtime import OnnxRuntime
from visual_changenet.session import Session, sha256_of

PAIRS = max(BATCHES)  # at each batch size
RUN_RECORD = "plan.json"


def export(session: Session) -> None:
    """Write ``export.checkpoint`` as ONNX, with parity.json beside it and DeepStream's files where asked for.

    Raises:
        SpecError: before any work. MissingFileError, DataInvalidError: the checkpoint can not be used.
        RejectedError: the file does not decide as the checkpoint; it is kept as ``<name>.onnx.rejected``.
        CancelledError: after SIGINT or SIGTERM.
    """
    target = check_target(session.spec, session.results_dir)
    session.spec["train"]["device"] = "cpu"  # the graph is the same on every device
    network, _ = open_model(session)
    card = _card(session, network)
    pairs = _pairs(session, card)
    progress = Progress(session.events, session.action, 2 + (1 if target.batch else len(BATCHES)))
    with written_beside(target.path) as temporary:
        _write(session, network, card, target, temporary)
        progress.update(1, 0)
        session.check_interrupted()
        parity = prove(session, network, temporary, target, pairs, progress)
    session.add_artifact(target.path, "onnx")
    _write_deepstream(session, card, target.path)
    height, width = card.input
    say(
        f"{target.path}: opset {target.opset}, batch {target.batch or 'dynamic'}, input {height} x {width}; over "
        f"{parity.pairs} pairs scores differ by at most {parity.worst('score_max_abs'):.2g}, "
        f"{parity.worst('flips'):.2%} decisions flip"
    )


def _card(session: Session, network: Network) -> Card:
    """The card of the session's checkpoint; what can not be exported is refused here, the spec is final then."""
    size = input_size(session.spec)
    check_deepstream(session.spec)
    session.save_spec()
    digest = sha256_of(session.results_dir / "experiment.yaml")
    return make_card(session.spec, network, size, digest, _parent_run(session))


def _pairs(session: Session, card: Card) -> Pairs:
    pairs = find_pairs(session.spec, trained_spec(Path(session.spec["export"]["checkpoint"])), card, PAIRS)
    if pairs.source == SYNTHETIC:
        session.notice("no test, validation or training pairs can be read here: parity is measured on invented ones.")
    return pairs


def _write(session: Session, network: Network, card: Card, target: Target, path: Path) -> None:
    model = write_graph(network, card, target, path)
    if session.spec["export"]["verbose"]:
        say(onnx.helper.printable_graph(model.graph))


def prove(
    session: Session, network: Network, written: Path, target: Target, pairs: Pairs, progress: Progress
) -> Parity:
    """Compare a written file with the network; give it the target's name, or that of a rejected file.

    Raises:
        RejectedError: ``E_EXPORT_PARITY``. CancelledError: after SIGINT or SIGTERM.
    """
    reference = outputs_of(network, pairs)
    progress.update(2, len(pairs))
    counted = [2]

    def done(batch: int) -> None:
        session.check_interrupted()
        counted[0] += 1
        progress.update(counted[0], len(pairs))

    runtime = OnnxRuntime(written, "cpu", torch.get_num_threads())
    parity = compare(runtime, pairs, reference, session.spec["export"]["parity_tolerance"], done)
    session.metrics = parity.metrics()
    named = target.path if parity.passed else target.rejected
    report = target.path.with_name(FILE)
    parity.write(report, named.name, sha256_of(written))
    session.add_artifact(report, "parity")
    publish(written, named)
    if not parity.passed:
        session.add_artifact(target.rejected, "rejected")
    parity.check(target.path.name, target.rejected)
    target.rejected.unlink(missing_ok=True)  # of an earlier attempt
    return parity


def outputs_of(network: Network, pairs: Pairs) -> list[Floats]:
    """The network's outputs for all pairs, in the order of the exported ones."""
    exported = Exported(network).eval()
    size = max(BATCHES)
    found = []
    with torch.inference_mode():
        for at in range(0, len(pairs), size):
            first, second = (torch.from_numpy(part[at : at + size]) for part in (pairs.first, pairs.second))
            found.append([part.float().numpy() for part in exported(first, second)])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def trained_spec(checkpoint: Path) -> dict[str, Any] | None:
    """The spec that a checkpoint was trained with, where it tells."""
    spec = read_checkpoint(checkpoint, "export.checkpoint", mmap=zipfile.is_zipfile(checkpoint)).get("spec")
    return spec if isinstance(spec, dict) else None


def _parent_run(session: Session) -> str | None:
    """The run that the caller names, else the one that the checkpoint lies in."""
    told = (session.provenance.get("parent") or {}).get("run_id")
    return told or run_of(Path(session.spec["export"]["checkpoint"]))


def run_of(checkpoint: Path) -> str | None:
    """The id of the run that a checkpoint lies in: the name of the folder with its record; None outside of runs."""
    return next((folder.name for folder in checkpoint.resolve().parents if (folder / RUN_RECORD).is_file()), None)


def _write_deepstream(session: Session, card: Card, path: Path) -> None:
    if not session.spec["export"]["serialize_nvdsinfer"]:
        return
    files, notice = write_deepstream(card, path)
    for file in files:
        session.add_artifact(file, "deepstream")
    if notice:
        session.notice(notice)
