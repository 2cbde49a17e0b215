"""How action quantize ends: both models measured, the record written, the new file kept or rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from torch.utils.data import DataLoader

from visual_changenet.actions.export import trained_spec
from visual_changenet.console import say
from visual_changenet.errors import DataInvalidError
from visual_changenet.events import Progress
from visual_changenet.export.pairs import synthetic_pairs
from visual_changenet.export.target import REJECTED, publish
from visual_changenet.quantize.measure import Computes, compare_latency, compare_quality
from visual_changenet.quantize.patterns import Layer
from visual_changenet.quantize.report import FILE, Report
from visual_changenet.quantize.sources import evaluation_data
from visual_changenet.runtime.card import Card
from visual_changenet.session import Session, sha256_of

Loader = tuple[DataLoader[Any], str] | None


@dataclass(frozen=True)
class Sides:
    """Two models to compare: what they are, the size of the old and the file of the new one, what computes."""

    card: Card
    old_bytes: int
    new: Path
    before: Computes
    after: Computes


def past_specs(model: Path) -> list[dict[str, Any]]:
    """The specs that are known of a model, the newest first: in a checkpoint, or beside an exported file."""
    if model.suffix.lower() != ".onnx":
        found = trained_spec(model)
        return [found] if found else []
    recorded = model.parent / "experiment.yaml"
    try:
        content = yaml.safe_load(recorded.read_text(encoding="utf-8")) if recorded.is_file() else None
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None  # not ours
    if not isinstance(content, dict):
        return []
    checkpoint = Path((content.get("export") or {}).get("checkpoint") or "")
    return [content, *(past_specs(checkpoint) if checkpoint.is_file() else [])]


def find_evaluation(session: Session, specs: Sequence[dict[str, Any]]) -> Loader:
    """Labelled pairs for the gate; they may be missing only where the gate is open."""
    task = session.spec["task"]
    data = evaluation_data(specs, session.spec["dataset"][task]["batch_size"])
    if data is None and session.spec["quantize"]["max_drop"] is not None:
        raise DataInvalidError(
            "E_QUANTIZE_NO_DATA",
            "there are no labelled pairs to measure the quantized model with: neither the spec nor the model's own "
            "names test or validation data that can be read.",
            f"set the test data of dataset.{task}, or quantize.max_drop=null to keep the model unmeasured",
        )
    if data is None:
        session.notice("not measured: there are no labelled pairs, and quantize.max_drop is null.")
    return data


def start_report(
    session: Session, target: Path, library: str, layers: Sequence[Layer], formats: dict[str, str]
) -> Report:
    options = session.spec["quantize"]
    stay = dict.fromkeys(layer.names[0] for layer in layers if layer.fits and layer.key not in formats)
    return Report(
        model=target.name,
        backend=options["backend"],
        library=library,
        mode=options["mode"],
        algorithm=options["algorithm"],
        formats={dtype: list(formats.values()).count(dtype) for dtype in sorted(set(formats.values()))},
        in_float=list(stay),
        calibration=None,
        calibration_pairs=0,
        evaluation=None,
        max_drop=options["max_drop"],
        bytes=(0, 0),
        provider="",
    )


def judge(session: Session, sides: Sides, report: Report, data: Loader, target: Path, kind: str) -> None:
    """Measure both models; give the new file its name, or that of a rejected one."""
    report = _measured(session, sides, report, data)
    session.metrics = report.metrics()
    rejected = target.with_name(target.name + REJECTED)
    named = rejected if report.failed else target
    path = session.results_dir / FILE
    report.write(path, sha256_of(sides.new))
    session.add_artifact(path, "quantize")
    publish(sides.new, named)
    session.add_artifact(named, "rejected" if report.failed else kind)
    for line in report.table():
        say(line)
    report.check(rejected)
    rejected.unlink(missing_ok=True)  # of an earlier attempt
    say(f"{target}: {sum(report.formats.values())} layers in {', '.join(report.formats)} by {report.library}")


def _measured(session: Session, sides: Sides, report: Report, data: Loader) -> Report:
    batch = session.spec["dataset"][sides.card.task]["batch_size"]
    sizes = sorted({1, batch})
    progress = Progress(session.events, session.action, len(sizes) + (len(data[0]) if data else 0))
    counted = [0]

    def done(pairs: int) -> None:
        session.check_interrupted()
        counted[0] += 1
        progress.update(counted[0], pairs)

    quality = compare_quality(sides.card, sides.before, sides.after, data[0], done) if data else None
    latencies = []
    for size in sizes:
        pairs = synthetic_pairs(sides.card, size)
        latencies.append(
            compare_latency(sides.before, sides.after, pairs.first, pairs.second, session.check_interrupted)
        )
        done(size)
    return replace(
        report,
        bytes=(sides.old_bytes, sides.new.stat().st_size),
        evaluation=data[1] if data else None,
        quality=quality,
        latencies=latencies,
    )
