"""Pictures that are held out and trained on at once: the same file, the same bytes, or nearly the same picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.data.probe import same_bytes
from skillrun.data.report import DatasetReport, copy_command
from skillrun.data.samples import Sample, share_text, some
from skillrun.data.thumbnails import NO_NUMPY, can_compare, grey, on_threads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bits = npt.NDArray[np.uint64]
    Faces = npt.NDArray[np.float32]
else:
    Bits = Faces = Any

TRAIN = "train"
# Splits that are only predicted: they may hold anything.
UNMEASURED = ("predict", "infer", "inference")
# Of more pictures a side, as many are compared by their looks.
SAMPLE_PICTURES = 1000
FACE_SIDE = 72
# Bits of 64 in which the hashes of one picture, stored twice, may differ.
MOST_BITS = 6
# Correlation of the small pictures: two photographs of one board design stay below, a saved copy does not.
LEAST_CORRELATION = 0.995
LEAST_TEXTURE = 8.0
# Of folders that lie apart; one folder can be divided anew.
REMOVE = "Remove line {} from {}, or what is trained on"


@dataclass(frozen=True)
class Side:
    """The pairs of one split, the name that messages give it, and `DatasetReport.digests` of its pictures."""

    name: str
    samples: list[Sample]
    digests: Mapping[Path, bytes]

    @property
    def is_train(self) -> bool:
        """Whether models learn from it."""
        return self.name.rpartition("/")[2].startswith(TRAIN)


def sides_of(reports: dict[str, DatasetReport]) -> list[Side]:
    """The splits of several data sets, or of one with lists."""
    sides: dict[str, Side] = {}
    for name, report in _leaves(reports):
        for sample in report.samples:
            side = "/".join(filter(None, (name, sample.split)))
            sides.setdefault(side, Side(side, [], report.digests)).samples.append(sample)
    return list(sides.values())


def _leaves(reports: dict[str, DatasetReport], above: str = "") -> Iterator[tuple[str, DatasetReport]]:
    for name, report in reports.items():
        whole = f"{above}/{name}" if above else name
        if report.parts:
            yield from _leaves(report.parts, whole)
        else:
            yield whole, report


def check_leaks(report: DatasetReport, sides: Sequence[Side]) -> None:
    """Look for pictures of the trained side in the others; ``W_DATA_LEAK`` names both.

    Where no side is named ``train…``, the first counts as trained on. All files are compared by their bytes, up to
    `SAMPLE_PICTURES` a side by their looks.
    """
    trained = [side for side in sides if side.is_train] or list(sides[:1])
    others = [s for s in sides if s not in trained and s.name.rpartition("/")[2] not in UNMEASURED]
    known = [sample for side in trained for sample in side.samples]
    held = [sample for side in others for sample in side.samples]
    if not known or not held:
        return
    digests = {path: digest for side in (*trained, *others) for path, digest in side.digests.items()}
    found = _equal(known, held, digests)
    if can_compare():
        found |= _alike(report, known, [sample for sample in held if sample.test not in found])
    else:
        report.sampled["looks"] = NO_NUMPY
    for sample in {sample.test: sample for sample in reversed(held)}.values():
        if sample.test in found:
            _warn(report, sample, *found[sample.test])


def _equal(
    known: Sequence[Sample], held: Sequence[Sample], digests: Mapping[Path, bytes]
) -> dict[Path, tuple[Sample, str]]:
    """Held-out pictures that are a file of the trained side, or a copy of one.

    Whole files are read only where the digests of both sides are equal.
    """
    trained = {sample.test: sample for sample in known}
    found = {s.test: (trained[s.test], "is the same file as") for s in held if s.test in trained}
    alike: dict[bytes, tuple[set[Path], set[Path]]] = {}
    for side, samples in enumerate((known, held)):
        for path in {sample.test for sample in samples} - found.keys():
            if path in digests:
                alike.setdefault(digests[path], (set(), set()))[side].add(path)
    for ours, theirs in alike.values():
        if ours and theirs:
            for group in same_bytes([*sorted(ours), *sorted(theirs)]).values():
                twin = next((trained[path] for path in group if path in ours), None)
                found |= {path: (twin, "holds the same bytes as") for path in group if twin and path in theirs}
    return found


def _alike(report: DatasetReport, known: Sequence[Sample], held: Sequence[Sample]) -> dict[Path, tuple[Sample, str]]:
    """Held-out pictures that look like one of the trained side: hashes first, then correlation."""
    import numpy as np

    ours, theirs = some(known, SAMPLE_PICTURES), some(held, SAMPLE_PICTURES)
    report.sampled["looks"] = (
        f"{share_text(len(theirs), len(held), 'held-out pictures')} with "
        f"{share_text(len(ours), len(known), 'trained ones')}"
    )
    (kept, faces, bits), (asked, others, wanted) = _portraits(ours), _portraits(theirs)
    found: dict[Path, tuple[Sample, str]] = {}
    if not kept or not asked:
        return found
    for sample, face, hashed in zip(asked, others, wanted, strict=True):
        near = np.flatnonzero(np.bitwise_count(bits ^ hashed) <= MOST_BITS)
        if near.size:
            alike = faces[near] @ face
            if alike.max() >= LEAST_CORRELATION:
                how = f"looks like ({alike.max():.1%} correlation)"
                found[sample.test] = (kept[int(near[alike.argmax()])], how)
    return found


def _portraits(samples: Sequence[Sample]) -> tuple[list[Sample], Faces, Bits]:
    """Pictures with texture, each as a vector of mean 0 and length 1 and as a hash: is a pixel brighter than its
    right neighbour, on 8 rows of 9?"""
    import numpy as np

    kept, faces, bits = [], [], []
    pictures = on_threads(lambda sample: grey(sample.test, side=FACE_SIDE), samples)
    for sample, picture in zip(samples, pictures, strict=True):
        if picture is None or picture.std() < LEAST_TEXTURE:
            continue
        coarse = picture.reshape(8, 9, 9, 8).mean(axis=(1, 3))
        bits.append(np.packbits(coarse[:, 1:] > coarse[:, :-1]).view(np.uint64)[0])
        face = (picture - picture.mean()).ravel()
        faces.append((face / np.linalg.norm(face)).astype(np.float16))
        kept.append(sample)
    return kept, np.array(faces, np.float32), np.array(bits, np.uint64)


def _warn(report: DatasetReport, sample: Sample, twin: Sample, how: str) -> None:
    report.leaks.append((twin, sample, how))
    report.warn(
        "W_DATA_LEAK",
        f"{sample.place}: {sample.test} {how} {twin.test} ({twin.place}), which is trained on.",
        file=sample.test,
        line=sample.line,
        fix=copy_command("split", report.path) if report.path.name else REMOVE.format(sample.line, sample.source),
    )
