"""What the numbers of a card do not say: each limit follows from what was recorded."""

from __future__ import annotations

from collections.abc import Iterator

from skillrun.card.data import DataSet
from skillrun.card.family import Family
from skillrun.card.markdown import code, escaped
from skillrun.card.measures import SMALL, Measures
from skillrun.card.speed import device_of


def limits(family: Family, measures: Measures | None, tested: list[DataSet], trained: list[DataSet]) -> list[str]:
    """Sentences in Markdown."""
    return [
        *_of_the_model(family, measures),
        *(_of_the_test(family, measures, tested, trained) if measures else ()),
        "Not tested: other products, cameras, lights or lenses than those in the data above, and how scores drift "
        "over time.",
    ]


def _of_the_model(family: Family, measures: Measures | None) -> Iterator[str]:
    if family.evaluation is None:
        yield f"**No evaluation was found**: nothing is known of its errors. {_evaluate(family)}"
    elif measures is None:
        yield f"The evaluation {code(family.evaluation.name)} left no scored pairs to count."
    elif not family.on_itself:
        yield (
            "The numbers were measured on the checkpoint that this model was made from, not on its own file. "
            f"{_evaluate(family)}"
        )
    if not family.trainings:
        yield "No training run is known: what the network learned from can not be told."
    for training in family.trainings:
        if not training.succeeded:
            state = training.result.get("status") or "without a result"
            yield f"The training {code(training.name)} did not end by itself: {escaped(state)}."
    if family.model.changed:
        yield (
            f"The file is not what was recorded: its sha256 was {code(family.model.recorded)}"
            + (f", and is {code(family.model.sha256)} now." if family.model.sha256 else ".")
        )


def _evaluate(family: Family) -> str:
    prefix = "segment_" if family.subject.task == "segment" else ""
    command = f"skillrun visual_changenet {prefix}evaluate --parent {family.subject.name} --eval-data FOLDER"
    return f"To measure it: {code(command)}"


def _of_the_test(family: Family, measures: Measures, tested: list[DataSet], trained: list[DataSet]) -> Iterator[str]:
    assert family.evaluation is not None
    yield f"One test set of {measures.pairs} pairs, on one device ({escaped(device_of(family.evaluation))})."
    names = {one.table.resolve() for one in tested}
    for one in tested:
        if one.pairs not in (None, measures.pairs):
            yield f"The test table has {one.pairs} rows now; {measures.pairs} were scored: it may have changed since."
    for one in trained:
        if one.table.resolve() in names and one.role == "training":
            yield "**It was tested on the pairs that it was trained on**: the numbers say nothing about new pairs."
        elif one.table.resolve() in names:
            yield (
                "The checkpoint was chosen on the same pairs that it was tested on, so the numbers are somewhat too "
                "good; a third, untouched set would tell."
            )
    if measures.threshold:
        yield "The margin was chosen on the same pairs, so the rates at it are somewhat too good for new pairs."
    for name, rate in (("defect", measures.escape), ("good pair", measures.overkill)):
        if rate is not None and not rate.total:
            yield f"No {name} was tested: that rate is unknown."
        elif rate is not None and not rate.count:
            yield f"{rate.total} times a {name} without an error prove a rate below {rate.interval()[1]:.2%}, not zero."
    small = [f"{escaped(label)} ({rate.total})" for label, rate in measures.caught.items() if rate.total < SMALL]
    if small:
        yield f"Fewer than {SMALL} pairs, too few to compare: {', '.join(small)}."
