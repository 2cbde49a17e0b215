"""The review of a study before its launch: what is searched and what not, how, for how long, and what is kept."""

from __future__ import annotations

from skillrun.automl.budget import clock_text
from skillrun.automl.param import show
from skillrun.automl.settings import Settings
from skillrun.automl.slots import Slots


def review(settings: Settings, slots: Slots) -> list[str]:
    """Lines for a person; nothing is measured, nothing is written."""
    space, algorithm = settings.space, settings.resolved()
    rungs = f"; trials are compared after {_list(algorithm.rungs)} epochs" if algorithm.rungs else ""
    size = f", {space.size:.0f} different trials" if space.size != float("inf") else ""
    goals = f"{settings.metric} ({settings.direction}){_second(settings)}"
    lines = [
        f"AutoML      {goals} of {settings.action}, {len(space.params)} keys{size}",
        f"algorithm   {settings.algorithm}, seed {settings.seed}: {algorithm.promise}{rungs}",
        f"budget      {settings.budget.text()}, {settings.num_epochs} epochs each; trial 0 is the template's own",
        f"side by side {slots.text()}",
        f"time, cost  {_expected(settings, slots)}",
        f"comparison  {_comparison(settings)}",
        f"kept        {_kept(settings)}",
        *(f"set for all {text}" for text in settings.extra),
        *(f"note        {notice}" for notice in space.notices),
        "",
        *_space_lines(settings),
    ]
    if space.left_out:
        lines += ["", "not searched:", *(f"  {key}: {reason}" for key, reason in space.left_out.items())]
    return lines


def _second(settings: Settings) -> str:
    return f" and {settings.second} of one pair (minimize)" if settings.second else ""


def _expected(settings: Settings, slots: Slots) -> str:
    if not settings.epoch_s:
        return estimate(settings, slots.at_once, None)
    words = estimate(settings, slots.at_once, settings.epoch_s)
    return f"{words}; by run {settings.epoch_run} on the same data, told again after the first epoch of trial 0"


def estimate(settings: Settings, at_once: int, epoch_s: float | None) -> str:
    """How long the study takes and how many GPU hours, from the seconds of one epoch; None: not measured yet."""
    budget = settings.budget
    limit = f", at most {clock_text(budget.seconds)}" if budget.seconds else ""
    if epoch_s is None:
        return f"told after the first epoch of trial 0{limit}"
    epochs = settings.num_epochs * budget.trials if budget.trials else budget.epochs
    epochs = min(epochs, budget.epochs) if budget.epochs and epochs else epochs
    if not epochs:
        return f"one epoch takes {clock_text(epoch_s)}, one trial {clock_text(epoch_s * settings.num_epochs)}{limit}"
    machine_s = epoch_s * epochs
    wall = machine_s / at_once
    wall = min(wall, budget.seconds) if budget.seconds else wall
    less = ", less where trials stop early" if settings.resolved().rungs else ""
    hours = f"{wall * at_once * settings.per_trial / 3600:.2g} GPU or processor hours"
    return f"one epoch takes {clock_text(epoch_s)}: about {clock_text(wall)} in all, {hours}{less}{limit}"


def _space_lines(settings: Settings) -> list[str]:
    columns = ("key", "range", "scale", "trial 0", "only with", "from")
    rows = [columns, *(tuple(row[name] for name in columns) for row in settings.space.describe())]
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _comparison(settings: Settings) -> str:
    names = ["the starting checkpoint (where there is one)", "trial 0", "the best"]
    usual = "the data's test list" if settings.task == "segment" else "the evaluation set (no held-out data)"
    where = f"on held-out {settings.test_data}" if settings.test_data else f"on {usual}"
    return f"{_list(names)} {where}"


def _kept(settings: Settings) -> str:
    if settings.keep_all:
        return "all checkpoints (--keep-all)"
    if settings.second:
        return "the checkpoints of all trials that no other beats in both goals; those of the others go at the end"
    return "the checkpoints of the best trial; those of the others go once it is verified and compared"


def _list(things: object) -> str:
    words = [show(thing) for thing in things]  # type: ignore[attr-defined]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
