"""Model cards: what a model is, what it learned from, how good it was measured to be, and what nobody measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillrun.card import sections
from skillrun.card.data import data_sets
from skillrun.card.family import Family, find_family
from skillrun.card.header import header, title
from skillrun.card.limits import limits
from skillrun.card.markdown import escaped
from skillrun.card.measures import measure
from skillrun.card.origin import sources
from skillrun.card.speed import speeds
from skillrun.errors import ConflictError, UsageError
from skillrun.runfolder import RunFolder, check_writable, write_atomic

__all__ = ["FILE", "Card", "make_card", "write_card"]

FILE = "MODEL_CARD.md"
MARK = "<!-- written by skillrun card; it is replaced when the command runs again -->"


@dataclass(frozen=True)
class Card:
    """A model card.

    Attributes:
        text: Markdown with the hub's metadata above it.
        numbers: the same facts as plain values.
    """

    text: str
    numbers: dict[str, Any]


def make_card(run: RunFolder, root: Path) -> Card:
    """The card of the model that a run trained, measured or wrote. Nothing is written and no server is asked.

    Args:
        root: the workspace in which the runs around it are looked for.

    Raises:
        UsageError, ConflictError, RunFailedError: see `find_family`. DataError: see `measure`.
    """
    family = find_family(run, root)
    measures = measure(family.evaluation) if family.evaluation else None
    trained = data_sets(family.trainings[0], ("training", "validation")) if family.trainings else []
    tested = data_sets(family.evaluation, ("testing",)) if family.evaluation else []
    weights, fast = sources(family.trainings), speeds(family.runs)
    body = [
        *(MARK, "", f"# {escaped(title(family))}", ""),
        *sections.intended_use(family.subject.task),
        *sections.architecture(family),
        *sections.data("Training data", trained, "No training run is known."),
        *sections.data("Testing data", tested, "Not tested."),
        *(sections.quality(family, measures) if measures else ()),
        *sections.throughput(fast),
        *sections.limitations(limits(family, measures, tested, trained)),
        *sections.licence(weights, bool(family.trainings)),
        *sections.reproduce(family),
    ]
    name = tested[0].table.parent.name if tested else ""
    numbers = _of_family(family) | {
        "measures": measures.to_json() if measures else None,
        "data": [one.to_json() for one in (*trained, *tested)],
        "throughput": [one.to_json() for one in fast],
        "weights": [one.to_json() for one in weights],
    }
    return Card(header(family, measures, name, weights) + "\n" + "\n".join(body).rstrip() + "\n", numbers)


def _of_family(family: Family) -> dict[str, Any]:
    file = family.model
    return {
        "task": family.subject.task,
        "training": family.trainings[0].name if family.trainings else None,
        "evaluation": family.evaluation.name if family.evaluation else None,
        "measured_on_this_file": family.evaluation is not None and family.on_itself,
        "model": {"path": str(file.path) if file.path else None, "sha256": file.sha256 or None},
    }


def write_card(card: Card, path: Path) -> None:
    """Write a card, whole or not at all; an earlier card is replaced, another file never.

    Raises:
        ConflictError: ``E_CARD_EXISTS``. UsageError: the place can not be written.
    """
    if path.is_dir():
        raise UsageError("E_CARD_OUT", f"--out {str(path)!r} is a folder", f"--out {path / FILE}")
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise ConflictError(
            "E_CARD_EXISTS",
            f"{path} exists and is no card of skillrun's",
            f"move it away, or --out {path.parent / FILE}.new",
        )
    check_writable(path.parent, what="the card's folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, card.text)
