"""The sections of a card as Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from skillrun.card.data import DataSet
from skillrun.card.family import Family, Member
from skillrun.card.markdown import bullets, code, escaped, fenced, table
from skillrun.card.measures import SMALL, Measures
from skillrun.card.origin import UNKNOWN, Source
from skillrun.card.speed import Speed, device_of

if TYPE_CHECKING:
    from skillrun.inspection import Rate

NOT_KNOWN = "not recorded"


def architecture(family: Family) -> list[str]:
    """The network and its input."""
    run, subject = family.architecture, family.subject
    rows = [("network", "Visual ChangeNet"), ("task", escaped(run.task)), *_network(run), ("input", _input(run))]
    file = family.model.path
    rows.append(("model file", code(file.name) if file else NOT_KNOWN))
    rows.append(("size", f"{file.stat().st_size / 1e6:.1f} MB" if file and file.is_file() else NOT_KNOWN))
    rows += [
        (name.replace("_", " "), f"{value:.3g}")
        for name, value in (subject.result.get("metrics") or {}).items()
        if name in ("parity_max_abs", "parity_flips", "agreement") and isinstance(value, int | float)
    ]
    return ["## Architecture", "", *table(("", ""), rows)]


def _network(run: Member) -> Iterator[tuple[str, str]]:
    yield "backbone", code(run.get("model.backbone.type") or NOT_KNOWN)
    yield "backbone frozen in training", "yes" if run.get("model.backbone.freeze_backbone") else "no"
    if run.task == "segment":
        yield "decoder width", escaped(run.get("model.decode_head.decoder_params.embed_dim") or NOT_KNOWN)
        yield "classes", escaped(run.get("dataset.segment.num_classes") or NOT_KNOWN)
    else:
        yield "difference module", code(run.get("model.classify.difference_module") or NOT_KNOWN)
        yield "golden images per test image", escaped(run.get("dataset.classify.num_golden") or 1)


def _input(run: Member) -> str:
    """Width x height in pixels of one picture."""
    data = run.get(f"dataset.{run.task}") or {}
    if run.task == "segment":
        side = data.get("img_size")
        return f"{escaped(side)} x {escaped(side)} pixels" if side else NOT_KNOWN
    if not (data.get("image_width") and data.get("image_height")):
        return NOT_KNOWN
    lights = int(data.get("num_input") or 1)
    joined = f", {lights} lights joined ({escaped(data.get('concat_type'))})" if lights > 1 else ""
    return f"{escaped(data['image_width'])} x {escaped(data['image_height'])} pixels{joined}"


def data(title: str, sets: list[DataSet], unknown: str) -> list[str]:
    """Where the data is, how many pairs, and how many of each class."""
    rows = [(one.role, code(one.table), _count(one.pairs), code(one.sha256[:16]) if one.sha256 else "") for one in sets]
    found = table(("", "table", "pairs", "sha256 (begins)"), rows) or [unknown, ""]
    roles = [one for one in sets if one.labels]
    labels = sorted({label for one in roles for label in one.labels})
    counts = ((escaped(label), *(str(one.labels.get(label, 0)) for one in roles)) for label in labels)
    return [f"## {title}", "", *found, *table(("class", *(one.role for one in roles)), counts)]


def _count(pairs: int | None) -> str:
    return "not readable here any more" if pairs is None else str(pairs)


def quality(family: Family, measures: Measures) -> list[str]:
    """What the evaluation measured."""
    assert family.evaluation is not None
    what = "pixels" if family.subject.task == "segment" else "pairs"
    told = (
        f"{measures.pairs} pairs, scored by {code(family.evaluation.name)} ({escaped(device_of(family.evaluation))})."
    )
    rates = [
        (name, _percent(rate.value), f"{rate.count} of {rate.total}", _interval(rate), _ppm(rate))
        for name, rate in (("escape", measures.escape), ("overkill", measures.overkill))
        if rate is not None
    ]
    scored = [
        (escaped(one.name), *map(_share, (one.precision, one.recall, one.f1, one.iou))) for one in measures.classes
    ]
    if measures.means:
        scored.append(("mean", *(_share(measures.means.get(name)) for name in ("precision", "recall", "F1", "iou"))))
    return [
        *("## Quality", "", told, ""),
        *_margin(measures),
        *table(("", "rate", "count", "95 % interval (Wilson)", "ppm"), rates),
        *table((f"class ({what})", "precision", "recall", "F1", "IoU"), scored),
        f"Overall accuracy ({what}): {_share(measures.accuracy)}.",
        "",
        *_by_label(measures),
    ]


def _margin(measures: Measures) -> list[str]:
    if measures.margin is None:
        return []
    chosen = measures.threshold
    if chosen is None:
        return [f"A score above the margin {measures.margin:.6g} is a defect.", ""]
    low, high = chosen.interval
    return [
        f"A score above the margin {measures.margin:.6g} is a defect; chosen by {code(chosen.rule)} "
        f"(95 % of resamples choose {low:.4g} to {high:.4g}).",
        "",
    ]


def _by_label(measures: Measures) -> list[str]:
    rows = (
        (escaped(label), f"{rate.count} of {rate.total}", _share(rate.value), _interval(rate), _small(rate))
        for label, rate in measures.caught.items()
    )
    return table(("defect", "found", "recall", "95 % interval", ""), rows)


def _small(rate: Rate) -> str:
    return f"fewer than {SMALL}" if rate.total < SMALL else ""


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    """Three digits: rates of inspection are small."""
    return "–" if value is None else f"{100 * value:.3g}%"


def _interval(rate: Rate) -> str:
    low, high = rate.interval()
    return f"{_percent(low)} to {_percent(high)}"


def _ppm(rate: Rate) -> str:
    return "–" if rate.value is None else f"{rate.value * 1e6:.0f}"


def throughput(found: list[Speed]) -> list[str]:
    """Measured speeds by batch size and device."""
    rows = (
        (
            escaped(one.model),
            escaped(one.device),
            "–" if one.batch is None else str(one.batch),
            "–" if one.pairs_per_s is None else f"{one.pairs_per_s:.1f}",
            *("–" if value is None else f"{value:.2f}" for value in (one.p50_ms, one.p95_ms)),
            escaped(one.scope),
            code(one.run_id),
        )
        for one in found
    )
    columns = ("model", "device", "batch", "pairs/s", "p50 ms", "p95 ms", "measured", "by run")
    return ["## Throughput", "", *(table(columns, rows) or ["Not measured.", ""])]


def licence(weights: list[Source], trained: bool) -> list[str]:
    """Whose weights are in the model, and under which licence."""
    rows = (
        (escaped(one.name), code(one.revision) if one.revision else NOT_KNOWN, code(one.sha256) or NOT_KNOWN, UNKNOWN)
        for one in weights
    )
    none = (
        "No weights of others: the training started from random numbers."
        if trained
        else f"Where the weights come from is not recorded. Their licence is {UNKNOWN}."
    )
    columns = ("weights", "revision", "sha256", "licence")
    return ["## Licence of the weights", "", *(table(columns, rows) or [none, ""])]


def reproduce(family: Family) -> list[str]:
    """Digests, versions and the commands, oldest run first."""
    runs = [*reversed(family.ancestors)]
    runs += [family.evaluation] if family.evaluation and family.evaluation not in runs else []
    file = family.model
    rows = [("model sha256", code(file.sha256) if file.sha256 else NOT_KNOWN)]
    for run in runs:
        told: dict[str, Any] = run.result.get("environment") or {}
        versions = ", ".join(f"{name} {told[name]}" for name in ("python", "torch") if told.get(name))
        digest = str(run.record.get("plan_hash") or "")
        rows.append((f"{escaped(run.kind)} {code(run.name)}", f"plan {code(digest[:16])}, {escaped(versions)}"))
    commands = "\n".join(command for run in runs if (command := _command(run)))
    seed = family.architecture.get("train.seed")
    rows += [("seed", escaped(seed))] if seed is not None else []
    return ["## Reproduce", "", *table(("", ""), rows), *(fenced(commands) if commands else [])]


def _command(run: Member) -> str:
    """The run again, from its recorded spec, with a place of its own for what it writes."""
    if not run.run.spec.is_file():
        return ""
    action, flag = str(run.record.get("action")), " --no-automl" if run.kind == "train" else ""
    spec, place = shlex.quote(str(run.run.spec)), f"reproduced/{run.kind}"
    return f"skillrun visual_changenet {action}{flag} --spec {spec} --results {place}"


def intended_use(task: str) -> list[str]:
    """What the model is for, and what it is not."""
    answer = (
        "marks the pixels that changed between them"
        if task == "segment"
        else "scores how different they are; above the margin the pair is NO\\_PASS"
    )
    return [
        *("## Intended use", ""),
        f"Visual inspection: the model compares a test image with a golden image of the same object and {answer}. Both "
        "images must show the same view, at the size and with the lights that it was trained on.",
        "",
        "Not intended for decisions on which safety hangs without a further check, and not for objects that are not in "
        "its training data.",
        "",
    ]


def limitations(sentences: Iterable[str]) -> list[str]:
    """The limits as a list."""
    return ["## Limits", "", *bullets(sentences)]
