"""The model behind evaluate and inference: a network of torch, or an exported model and the library that runs it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from visual_changenet.actions.card_spec import take_from_card
from visual_changenet.actions.prepare import check_rules
from visual_changenet.errors import MissingFileError
from visual_changenet.latency import Latency
from visual_changenet.runtime import Runtime, open_runtime
from visual_changenet.runtime.decision import Floats, score_values
from visual_changenet.session import Session

MODEL_FILES = (".onnx", ".engine")


class Scorer(Protocol):
    """What both give to an action."""

    def scores(self, test: Floats, golden: Floats) -> Floats:
        """classify: defect scores (B,) of normalised images (B, 3, H, W); ``golden`` may be (B, N, 3, H, W)."""

    def maps(self, golden: Floats, test: Floats, *, average: bool) -> Floats:
        """segment: logits (B, classes, S, S) of the finest map, or with ``average`` the mean of all five."""

    def metrics(self) -> dict[str, float]:
        """What is known of the speed, by the names of result.json."""


class RuntimeScorer:
    """An exported model. Its steps are timed, from the arrays of a batch to those of its outputs."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._steps: list[tuple[int, float]] = []

    def scores(self, test: Floats, golden: Floats) -> Floats:
        """See ``Scorer.scores``."""
        return score_values(self.runtime.card, self._run(test, golden))

    def maps(self, golden: Floats, test: Floats, *, average: bool) -> Floats:
        """See ``Scorer.maps``."""
        found = self._run(golden, test)
        return np.mean([_enlarged(part, found[-1].shape[-1]) for part in found], axis=0) if average else found[-1]

    def _run(self, first: Floats, second: Floats) -> tuple[Floats, ...]:
        begin = time.perf_counter()
        found = self.runtime.run(first, second)
        self._steps.append((len(first), time.perf_counter() - begin))
        return found

    def metrics(self) -> dict[str, float]:
        """``latency_p50_ms``, ``latency_p95_ms``, ``latency_batch`` and ``pairs_per_s``.

        Of whole batches. The first step, which may set up the library, and the incomplete last batch are left out
        where there are others.
        """
        if not self._steps:
            return {}
        batch = max(size for size, _ in self._steps)
        whole = [seconds for size, seconds in self._steps if size == batch]
        found = Latency.of(whole[1:] or whole, batch)
        return {
            "latency_batch": float(found.batch),
            "latency_p50_ms": found.p50_ms,
            "latency_p95_ms": found.p95_ms,
            "pairs_per_s": found.pairs_per_s,
        }


def _enlarged(maps: Floats, side: int) -> Floats:
    """(B, n, s, s) -> (B, n, side, side), the nearest value above and to the left."""
    take: NDArray[np.int64] = np.arange(side) * maps.shape[-1] // side
    out: Floats = maps[:, :, take][:, :, :, take]
    return out


def open_scorer(session: Session) -> Scorer:
    """The model of ``<action>.checkpoint``, else of ``<action>.trt_engine``; the session's spec takes its geometry.

    Raises:
        MissingFileError, DataInvalidError, SpecError: the file can not be used.
    """
    options = session.spec[session.action]
    named, engine = options["checkpoint"], options["trt_engine"]
    if not named and not engine:
        raise MissingFileError(
            "E_CHECKPOINT_MISSING",
            f"neither {session.action}.checkpoint nor {session.action}.trt_engine names a file.",
            f"set {session.action}.checkpoint to a .pth or .onnx file, or trt_engine to an .engine file",
        )
    if engine and not named:
        return _exported(session, Path(engine))
    if Path(named or "").suffix.lower() in MODEL_FILES:
        scorer = _exported(session, Path(named))
    else:
        from visual_changenet.actions.network_scorer import open_network

        scorer = open_network(session)
    if engine:
        session.notice(f"{session.action}.trt_engine is not used: {session.action}.checkpoint is given.")
    return scorer


def _exported(session: Session, path: Path) -> Scorer:
    options = session.spec["train"]
    runtime = open_runtime(path, options["device"] or "auto", options["threads"])
    session.spec, notices = take_from_card(session.spec, runtime.card)
    session.save_spec()
    session.spec, mended = check_rules(session.spec, f"trt_{session.action}")
    session.environment |= {"runtime": runtime.provider, "model_precision": runtime.card.precision}
    session.start("cpu" if runtime.provider.startswith("CPU") else "cuda")
    for text in (*notices, *mended, *runtime.notices):
        session.notice(text)
    session.notice(f"{runtime.provider} computes from {path}.")
    session.status.write("RUNNING", f"Loading model: {path}")
    return RuntimeScorer(runtime)
