"""``skillrun threshold``: the margin that keeps a limit on a run's scored pairs, kept for what follows that run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skillrun.cli.options import Json, RunReference, Workspace
from skillrun.cli.output import Output

if TYPE_CHECKING:
    from skillrun.inspection import Outcomes, Rate, Rule, Threshold
    from skillrun.runfolder import RunFolder

_COLUMNS = ("", "margin", "escapes", "escape rate (95 %)", "false calls", "overkill (95 %)")


def threshold(
    run: RunReference,
    max_escape: Annotated[
        str, typer.Option("--max-escape", metavar="SHARE", help="Most defects that may pass: 0.1%, 0.001 or 1000ppm.")
    ] = "",
    max_overkill: Annotated[
        str, typer.Option("--max-overkill", metavar="SHARE", help="Most good pairs that may be called defects.")
    ] = "",
    cost: Annotated[
        str, typer.Option("--cost", metavar="PRICES", help="Least cost at these prices, e.g. escape=50,overkill=1.")
    ] = "",
    json: Json = False,
    workspace: Workspace = None,
) -> None:
    """Choose the margin on an evaluation's scores; what follows with --parent decides by it."""
    from skillrun.inspection import calibrate, evaluation_of, parse_rule, read_outcomes, write_threshold
    from skillrun.runfolder import find_run
    from skillrun.runfolder import workspace as resolve

    rule, root, output = parse_rule(max_escape, max_overkill, cost), resolve(workspace), Output(json)
    named = find_run(run, root)
    evaluation = evaluation_of(named, root)
    if evaluation.path != named.path:
        output.say(f"{named.run_id} is a training; its newest evaluation is {evaluation.run_id}")
    outcomes = read_outcomes(evaluation)
    chosen = calibrate(evaluation, outcomes, rule)
    former = _former(evaluation)
    path = write_threshold(evaluation, chosen)
    proof = _proof(rule, chosen)
    answer = {"threshold": chosen.to_json(), "in_use": _in_use(outcomes), "former": former, **proof, "path": str(path)}
    if json:
        return output.data(answer, "")
    _show(outcomes, chosen, output)
    output.data({}, "\n".join(_lines(rule, chosen, proof, former)))
    return output.hint(_next(evaluation, chosen))


def _former(run: RunFolder) -> dict[str, Any] | None:
    """The margin that is about to be replaced; one that can not be read is replaced without a word of it."""
    from skillrun.errors import DataError
    from skillrun.inspection import read_threshold

    try:
        found = read_threshold(run)
    except DataError:
        return None
    return {"margin": found.margin, "rule": found.rule, "at": found.at} if found else None


def _in_use(outcomes: Outcomes) -> dict[str, Any]:
    return {
        "margin": outcomes.margin,
        "escape": outcomes.escapes().to_json(),
        "overkill": outcomes.overkill().to_json(),
    }


def _proof(rule: Rule, chosen: Threshold) -> dict[str, Any]:
    """``proven``: the upper end of the interval keeps the limit; ``needed``: pairs without one that would prove it."""
    from skillrun.inspection import needed_to_prove

    if rule.kind == "cost":
        return {"proven": None, "needed": None}
    rate = chosen.escape if rule.kind == "max-escape" else chosen.overkill
    return {"proven": rate.within(rule.limit), "needed": needed_to_prove(rule.limit)}


def _show(outcomes: Outcomes, chosen: Threshold, output: Output) -> None:
    in_use = (outcomes.margin, outcomes.escapes(), outcomes.overkill())
    rows = [
        (name, f"{margin:.6g}", _count(escape), _percent(escape), _count(overkill), _percent(overkill))
        for name, (margin, escape, overkill) in (
            ("in use", in_use),
            ("chosen", (chosen.margin, chosen.escape, chosen.overkill)),
        )
    ]
    output.table("margins", _COLUMNS, rows, "")


def _count(rate: Rate) -> str:
    return f"{rate.count} of {rate.total}"


def _percent(rate: Rate) -> str:
    low, high = rate.interval()
    return "" if rate.value is None else f"{rate.value:.3%} ({low:.3%} to {high:.3%})"


def _lines(rule: Rule, chosen: Threshold, proof: dict[str, Any], former: dict[str, Any] | None) -> Iterator[str]:
    low, high = chosen.interval
    yield f"margin    {chosen.margin:.6g}; on other pairs of this kind {low:.4g} to {high:.4g} (95 % of resamples)"
    if rule.kind == "cost":
        good, defects = chosen.overkill.total, chosen.escape.total
        yield f"cost      least for {good} good pairs to {defects} defects, as in this data set"
    elif proof["proven"]:
        yield f"proven    {rule.text}: the upper end of the interval keeps it"
    else:
        yield f"not proven  {rule.text} is kept by the count, not by the upper end of the interval{_how(rule, proof)}"
    if former:
        yield f"replaces  margin {former['margin']:.6g} ({former['rule']}) of {former['at']}"
    if not chosen.sha256:
        yield "not carried  the model file was changed since, or is gone: evaluate again to carry the margin on"


def _how(rule: Rule, proof: dict[str, Any]) -> str:
    """What would prove a limit."""
    if proof["needed"] is None:
        return "; 0 is proven by no number of pairs"
    kinds = ("defects", "an escape") if rule.kind == "max-escape" else ("good pairs", "a false call")
    return f"; {proof['needed']} {kinds[0]} without {kinds[1]} would prove it"


def _next(run: RunFolder, chosen: Threshold) -> str:
    """Export with the margin; a model file was exported with its own, and is written anew from its checkpoint."""
    from skillrun.lineage import Parent, exported_by

    words = "skillrun visual_changenet"
    source = exported_by(Parent(run.path, run))
    if source is not None:
        return f"{words} {source.action} --parent {source.parent} model.classify.eval_margin={chosen.margin!r}"
    if not chosen.sha256:
        return f"{words} evaluate --parent {run.run_id}"
    return f"{words} export --parent {run.run_id}"
