"""The page of a data set: verdict, findings, counts, and pictures of what is in it and of what looks wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from skillrun.data.report import DatasetReport
from skillrun.data.samples import Sample
from skillrun.findings import Finding
from skillrun.report.contact_sheet import Wanted, names_of, sheet, within
from skillrun.report.page import render_template
from skillrun.report.thumbnails import Files

# Characters of pictures in each part of the page, which together stay well below 5 MB.
SHEET_BUDGET, SHIFTS_BUDGET, LEAKS_BUDGET, TWINS_BUDGET = 2_400_000, 700_000, 700_000, 400_000
SHIFTS, LEAKS, TWINS = 12, 16, 12
# Pixels; less is no shift that can be seen.
LEAST_SHIFT = 1.0
LABELS, SIZES, BINS = 40, 12, 24


def dataset_page(report: DatasetReport) -> str:
    """One HTML file that loads nothing, below 5 MB; what users typed is escaped.

    Args:
        report: of a check whose pictures are still there.
    """
    leaves = list(_leaves(report))
    samples = list(chain.from_iterable(leaf.samples for _, leaf in leaves))
    numbers = {
        **_verdict(report),
        "title": report.path.name or " and ".join(report.parts) or str(report.path),
        "path": str(report.path) if report.path.name else ", ".join(report.parts),
        "kinds": sorted({leaf.kind for _, leaf in leaves}),
        "findings": _by_code(report),
        "parts": [_part(name, leaf) for name, leaf in leaves],
        "sizes": _sizes(report.sizes),
        "extensions": report.extensions.most_common(SIZES),
        "sampled": list(_sampled(report, leaves)),
        "unpaired": [(name, what, one) for name, leaf in leaves for what, one in leaf.unpaired.items()],
        "made": datetime.now(UTC).isoformat(),
    }
    return render_template("dataset.html.j2", numbers, **_pictures(report, samples))


def _leaves(report: DatasetReport, name: str = "") -> Iterator[tuple[str, DatasetReport]]:
    """The data sets in a report, each with its name."""
    if not report.parts:
        yield name or report.path.name, report
    for part, inside in report.parts.items():
        yield from _leaves(inside, f"{name}/{part}" if name else part)


def _verdict(report: DatasetReport) -> dict[str, Any]:
    totals = report.totals
    errors = sum(count for code, count in totals.items() if code.startswith("E_"))
    return {
        "ok": report.ok,
        "errors": errors,
        "warnings": sum(totals.values()) - errors,
        **{key: getattr(report, key) for key in ("rows", "images", "missing", "unreadable", "hidden", "unused")},
    }


def _by_code(report: DatasetReport) -> list[dict[str, Any]]:
    """Findings of one code together, errors first; ``total`` counts also those whose details were not kept."""
    totals = report.totals
    found: dict[str, list[Finding]] = {}
    for finding in report.findings:
        found.setdefault(finding.code, []).append(finding)
    return [{"code": code, "total": totals[code], "kept": kept} for code, kept in found.items()]


def _part(name: str, leaf: DatasetReport) -> dict[str, Any]:
    """Counts of one data set: its labels (of masks: the values), the rows of its splits."""
    return {
        "name": name,
        "rows": leaf.rows,
        "labels": leaf.labels.most_common(LABELS),
        "more_labels": max(0, len(leaf.labels) - LABELS),
        "are_values": leaf.kind == "segment",
        "splits": list(leaf.splits.items()),
    }


def _sizes(sizes: Counter[str]) -> list[tuple[str, int]]:
    """Images by size where there are few sizes, else by the longer side in `BINS` ranges at most."""
    if len(sizes) <= SIZES:
        return sorted(sizes.items(), key=lambda item: tuple(map(int, item[0].split("x"))))
    longer: Counter[int] = Counter()
    for size, count in sizes.items():
        longer[max(map(int, size.split("x")))] += count
    step = max(1, math.ceil((max(longer) - min(longer) + 1) / BINS))
    bins: Counter[int] = Counter()
    for side, count in longer.items():
        bins[(side - min(longer)) // step] += count
    starts = {place: min(longer) + place * step for place in sorted(bins)}
    return [(f"{start} to {start + step - 1}" if step > 1 else f"{start}", bins[p]) for p, start in starts.items()]


def _sampled(report: DatasetReport, leaves: Sequence[tuple[str, DatasetReport]]) -> Iterator[tuple[str, str, str]]:
    for name, leaf in leaves:
        yield from ((name, what, share) for what, share in leaf.sampled.items())
    if report.parts:
        yield from (("", what, share) for what, share in report.sampled.items())


def _pictures(report: DatasetReport, samples: Sequence[Sample]) -> dict[str, Any]:
    """The tiles of all parts of the page."""
    shifts = report.shifts
    tiles = within(sheet(samples), SHEET_BUDGET)
    return {
        "tiles": tiles,
        "groups": [(group, f"class-{place}") for place, group in enumerate(dict.fromkeys(t.group for t in tiles))],
        "total": len(samples),
        "shifted": within(
            (
                Wanted("", f"{s.dx:+.1f}, {s.dy:+.1f} px", names_of(s.sample), Files(s.sample.golden, s.sample.test))
                for s in shifts[:SHIFTS]
                if s.pixels >= LEAST_SHIFT
            ),
            SHIFTS_BUDGET,
        ),
        "measured": len(shifts),
        "off": sum(shift.is_off for shift in shifts),
        "leaks": within(map(_leak, report.leaks[:LEAKS]), LEAKS_BUDGET),
        "leak_count": len(report.leaks),
        "twins": within(
            (
                Wanted("", "same bytes", (one.name, other.name), Files(one, other), ("first", "second"), False)
                for one, other in report.twins[:TWINS]
            ),
            TWINS_BUDGET,
        ),
        "twin_count": len(report.twins),
    }


def _leak(found: tuple[Sample, Sample, str]) -> Wanted:
    trained, held, how = found
    files = Files(trained.test, held.test)
    names = tuple(", ".join(names_of(sample)) for sample in found[:2])
    return Wanted("", f"{how} one that is trained on", names, files, ("trained on", "held out"))
