"""evaluate and inference of the task segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visual_changenet.actions.scoring import Scorer
from visual_changenet.actions.segment_pictures import class_colours, side_by_side, worst_cases
from visual_changenet.actions.tables import write_table
from visual_changenet.console import say
from visual_changenet.data.batches import Batches
from visual_changenet.data.masks import IGNORED
from visual_changenet.data.segment import SegmentDataset, SegmentSplit
from visual_changenet.events import Progress
from visual_changenet.mask_metrics import ChangedObject, changed_objects, mask_scores, object_scores
from visual_changenet.runtime.decision import softmax
from visual_changenet.session import Session

KPI = ("test_acc", "test_miou", "test_mf1", "test_mprecision", "test_mrecall")


@dataclass(frozen=True)
class Prediction:
    """One pair: row, classes uint8 (S, S), highest probability of a change, counts [truth, called], drawn or not.

    ``objects`` are the changes of the true mask.
    """

    row: int
    classes: NDArray[np.uint8]
    score: float
    confusion: NDArray[np.int64]
    drawn: bool
    objects: list[ChangedObject]


class Mapper:
    """Runs the model over a split and keeps the predictions' pictures."""

    def __init__(self, session: Session, scorer: Scorer, split: SegmentSplit) -> None:
        self.session, self.scorer = session, scorer
        data = session.spec["dataset"]["segment"]
        self.average: bool = data["multi_scale_infer"]
        batch = session.spec[session.action].get("batch_size") or data["batch_size"]
        self.every: int = session.spec[session.action]["vis_after_n_batches"]
        self.dataset = SegmentDataset(data, split)
        self.batches = Batches(self.dataset.arrays, len(self.dataset), batch, data["workers"])
        self.colours = class_colours(data)
        self.labelled = split != "predict"
        for text in self.dataset.notices:
            session.notice(text)

    def predictions(self) -> Iterator[Prediction]:
        """One per pair, in order.

        Raises:
            CancelledError: after SIGINT or SIGTERM.
        """
        progress = Progress(self.session.events, self.session.action, len(self.batches))
        for step, (golden, test, mask, rows) in enumerate(self.batches):
            logits = self.scorer.maps(golden, test, average=self.average)
            classes = logits.argmax(axis=1).astype(np.uint8)
            scores = (1 - softmax(logits)[:, 0]).max(axis=(1, 2))
            truth = mask[:, 0]
            for place, row in enumerate(rows.tolist()):
                counts = confusion_counts(truth[place], classes[place], logits.shape[1])
                drawn, objects = step % self.every == 0, changed_objects(truth[place], classes[place])
                yield Prediction(row, classes[place], float(scores[place]), counts, drawn, objects)
            progress.update(step + 1, len(golden))
            self.session.check_interrupted()

    def draw(self, found: Prediction) -> Image.Image:
        """Golden, test, prediction and, where there is one, the truth, side by side."""
        golden, test, truth = self.dataset.pictures(found.row)
        return side_by_side(golden, test, found.classes, truth if self.labelled else None, self.colours)

    def save(self, found: Prediction) -> None:
        """The documented pictures ``<name>.jpg`` and ``combined_visualisation/<name>.jpg``, and a lossless mask."""
        name, folder = self.dataset.names[found.row], self.session.results_dir
        stem = PurePosixPath(name).with_suffix(".png").as_posix()
        values = found.classes * 255 if len(self.colours) == 2 else found.classes
        _save(Image.fromarray(values.astype(np.uint8)), folder / "masks" / stem)
        if found.drawn:
            _save(Image.fromarray(self.colours[found.classes]), folder / f"{name}.jpg")
            _save(self.draw(found), folder / "combined_visualisation" / f"{name}.jpg")


def confusion_counts(truth: NDArray[np.uint8], called: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Pixels [truth, called], int64 (classes, classes), of two masks (S, S); truth 255 is not counted."""
    kept = truth != IGNORED
    places = truth[kept].astype(np.int64) * classes + called[kept]
    return np.bincount(places, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=95) if path.suffix == ".jpg" else image.save(path)


def evaluate_segment(session: Session, scorer: Scorer) -> None:
    """Score ``test_split``; writes predictions.csv, objects.csv, masks, pictures and worst_cases.jpg."""
    mapper = Mapper(session, scorer, "test")
    found = []
    for prediction in mapper.predictions():
        mapper.save(prediction)
        found.append(prediction)
    total = np.sum([prediction.confusion for prediction in found], axis=0)
    session.metrics = {f"test_{name}": value for name, value in mask_scores(total).items()}
    objects = object_scores(one for prediction in found for one in prediction.objects)
    session.metrics |= {f"test_{name}": value for name, value in objects.items()}
    session.metrics["num_samples"] = float(len(found))
    _write_objects(session, mapper.dataset.names, found)
    write_table(
        session,
        session.results_dir / "predictions.csv",
        ["path", "label", "score", "decision", "iou", "changed_share", "predicted_share"],
        [[mapper.dataset.names[prediction.row], *_cells(prediction)] for prediction in found],
    )
    worst = sorted(found, key=lambda prediction: _change_iou(prediction.confusion))
    sheet = worst_cases([(mapper.draw(p), _caption(mapper.dataset.names[p.row], p)) for p in worst[:8]])
    _save(sheet, session.results_dir / "worst_cases.jpg")
    _list_pictures(session, "worst_cases.jpg", "combined_visualisation", "masks")
    session.status.write("RUNNING", "Test metrics generated.", kpi={name: session.metrics[name] for name in KPI})
    say(_summary(session.metrics))


def _write_objects(session: Session, names: Sequence[str], found: Sequence[Prediction]) -> None:
    """One line per true change, the missed ones too; boxes in pixels of the map."""
    write_table(
        session,
        session.results_dir / "objects.csv",
        ["path", "x", "y", "width", "height", "area", "size", "covered", "found"],
        [
            [
                names[prediction.row],
                one.x,
                one.y,
                one.width,
                one.height,
                one.area,
                one.size,
                one.covered,
                int(one.found),
            ]
            for prediction in found
            for one in prediction.objects
        ],
    )


def infer_segment(session: Session, scorer: Scorer) -> None:
    """Predict ``predict_split``; writes inference.csv, masks and pictures. Masks of the data set are not read."""
    mapper = Mapper(session, scorer, "predict")
    rows: list[list[object]] = []
    changed = 0
    for prediction in mapper.predictions():
        mapper.save(prediction)
        name, share = mapper.dataset.names[prediction.row], float((prediction.classes > 0).mean())
        rows.append([name, prediction.score, _decision(prediction), share])
        changed += share > 0
    write_table(session, session.results_dir / "inference.csv", ["path", "score", "decision", "predicted_share"], rows)
    _list_pictures(session, "combined_visualisation", "masks")
    session.metrics = {"num_samples": float(len(rows)), "num_changed": float(changed)}


def _list_pictures(session: Session, *names: str) -> None:
    for name in names:
        path = session.results_dir / name
        if path.exists():
            session.add_artifact(path, "picture" if path.is_file() else "pictures")


def _change_iou(confusion: NDArray[np.int64]) -> float:
    """IoU of all classes but the first as one; 1 where nothing changed and nothing was called."""
    hits, missed = int(confusion[1:, 1:].sum()), int(confusion[1:, 0].sum())
    union = hits + missed + int(confusion[0, 1:].sum())
    return hits / union if union else 1.0


def _decision(prediction: Prediction) -> str:
    return "CHANGE" if (prediction.classes > 0).any() else "NO_CHANGE"


def _cells(prediction: Prediction) -> list[object]:
    counts = prediction.confusion
    pixels = max(int(counts.sum()), 1)
    changed = int(counts[1:].sum())
    label = "CHANGE" if changed else "NO_CHANGE"
    called = float((prediction.classes > 0).mean())
    return [label, prediction.score, _decision(prediction), _change_iou(counts), changed / pixels, called]


def _caption(name: str, prediction: Prediction) -> str:
    return f"{name}  IoU {_change_iou(prediction.confusion):.3f}"


def _summary(metrics: dict[str, float]) -> str:
    classes = [name.removeprefix("test_iou_") for name in metrics if name.startswith("test_iou_")]
    parts = [f"Pairs {metrics['num_samples']:.0f}"]
    for i in classes[1:]:
        parts.append(f"IoU {metrics[f'test_iou_{i}']:.4f} F1 {metrics[f'test_F1_{i}']:.4f} (class {i})")
    return " ".join([*parts, f"mIoU {metrics['test_miou']:.4f} accuracy {metrics['test_acc']:.4f}"])
