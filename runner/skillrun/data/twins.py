"""Files of the same bytes where different pictures are meant: twins in a data set, and defects without a difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from skillrun.data.layout import PASS
from skillrun.data.probe import Probe, same_bytes
from skillrun.data.report import DatasetReport
from skillrun.data.samples import Sample


def check_twins(report: DatasetReport, samples: Sequence[Sample], probes: Mapping[Path, Probe]) -> None:
    """Report test pictures of the same bytes under different names, and pairs that show no difference but should.

    Goldens may repeat: a board of one design has one golden. Findings: ``W_DATA_TWIN``, ``W_DATA_GOLDEN_IS_TEST``.
    """
    first: dict[Path, Sample] = {}
    for sample in samples:
        first.setdefault(sample.test, sample)
    for group in groups_of_equal(first, probes):
        one = first[group[0]]
        for other in (first[path] for path in group[1:]):
            labels = f", labelled {one.label!r} and {other.label!r}" if one.label != other.label else ""
            report.twins.append((one.test, other.test))
            report.warn(
                "W_DATA_TWIN",
                f"{other.place}: {other.test} holds the same bytes as {one.test} (line {one.line}){labels}.",
                file=other.test,
                line=other.line,
                fix=f"Remove line {other.line}, or put the right picture at {other.test}",
            )
    _check_no_difference(report, samples, probes)


def groups_of_equal(paths: Iterable[Path], probes: Mapping[Path, Probe]) -> list[list[Path]]:
    """Readable files of the same bytes, two or more a group; whole files are read only where the ends are equal."""
    found: dict[bytes, list[Path]] = {}
    for path in paths:
        if not probes[path].problem:
            found.setdefault(probes[path].digest, []).append(path)
    likely = [group for group in found.values() if len(group) > 1]
    return [group for some in likely for group in same_bytes(some).values() if len(group) > 1]


def _check_no_difference(report: DatasetReport, samples: Sequence[Sample], probes: Mapping[Path, Probe]) -> None:
    for sample in samples:
        one, two = probes[sample.golden], probes[sample.test]
        if one.problem or two.problem or one.digest != two.digest or not _should_differ(sample, probes):
            continue
        if len(same_bytes((sample.golden, sample.test))) == 1:
            what = f"labelled {sample.label!r}" if sample.label else f"with a change in {sample.mask}"
            report.warn(
                "W_DATA_GOLDEN_IS_TEST",
                f"{sample.place}: {sample.test} is {what}, but holds the same bytes as its golden {sample.golden}.",
                file=sample.test,
                line=sample.line,
                fix=f"Put the right pictures at both places, or remove line {sample.line}",
            )


def _should_differ(sample: Sample, probes: Mapping[Path, Probe]) -> bool:
    if sample.mask is None:
        return sample.label.strip().upper() not in ("", PASS)
    if probes[sample.mask].problem:
        return False
    from PIL import Image

    with Image.open(sample.mask) as mask:
        return bool(mask.convert("RGB").getbbox())
