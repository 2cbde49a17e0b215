"""Options of a search, which only the commands that train have."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Annotated, Any

import typer

from skillrun.cli.options import Yes

_READ: dict[CodeType, Mapping[str, inspect.Parameter]] = {}
PARAMETER = "search"  # of a command's function: the options, or None where it can not search

Trials = Annotated[int, typer.Option("--trials", min=0, help="Search: how many trials (default: as --dry-run says).")]
TotalEpochs = Annotated[int, typer.Option("--total-epochs", min=0, help="Search: epochs over all trials.")]
TimeLimit = Annotated[str, typer.Option("--time", metavar="TIME", help="Search: wall time, e.g. 30m.")]
Algorithm = Annotated[
    str,
    typer.Option("--algorithm", help="Search: bayesian (default), random, grid, hyperband, asha, bohb, cmaes."),
]
Seed = Annotated[int, typer.Option("--seed", help="Search: same seed, same trials.")]
Metric = Annotated[str, typer.Option("--metric", help="Search: what is optimised, e.g. val_ap.")]
Direction = Annotated[str, typer.Option("--direction", help="Search: maximize or minimize.")]
Ranges = Annotated[
    list[str] | None,
    typer.Option("--search", metavar="KEY[=RANGE]", help="Search this key: 1e-6..1e-3:log, 2..8:step=2, or a,b,c."),
]
Only = Annotated[bool, typer.Option("--search-only", help="Search the keys of --search and no others.")]
Freeze = Annotated[list[str] | None, typer.Option("--freeze", metavar="KEY", help="Do not search this key.")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, help="Trials at a time (default: one per free GPU).")]
FirstRung = Annotated[int, typer.Option("--first-rung", min=0, help="Search: epochs before trials are compared.")]
Reduction = Annotated[int, typer.Option("--reduction", min=2, help="Search: one of so many trials passes a rung.")]
TestData = Annotated[
    str, typer.Option("--test-data", metavar="DIR|URL", help="Search: pairs for the last comparison, seen by no trial.")
]
KeepAll = Annotated[bool, typer.Option("--keep-all", help="Search: keep the checkpoints of all trials.")]


def _options(
    trials: Trials = 0,
    total_epochs: TotalEpochs = 0,
    time: TimeLimit = "",
    algorithm: Algorithm = "",
    seed: Seed = 0,
    metric: Metric = "",
    direction: Direction = "",
    searches: Ranges = None,
    only: Only = False,
    freeze: Freeze = None,
    jobs: Jobs = 0,
    first_rung: FirstRung = 0,
    reduction: Reduction = 3,
    test_data: TestData = "",
    keep_all: KeepAll = False,
) -> Any:
    """`skillrun.automl.settings.SearchOptions`, loaded where a search is made."""
    from skillrun.automl.settings import SearchOptions

    chosen = {"algorithm": algorithm} if algorithm else {}
    return SearchOptions(
        trials=trials,
        epochs=total_epochs,
        time=time,
        seed=seed,
        metric=metric,
        direction=direction,
        searches=tuple(searches or ()),
        only=only,
        freeze=tuple(freeze or ()),
        jobs=jobs,
        first_rung=first_rung,
        reduction=reduction,
        test_data=test_data,
        keep_all=keep_all,
        **chosen,
    )


def without_search(command: Callable[..., None]) -> Callable[..., None]:
    """The command as it is, for typer."""
    return _with_signature(lambda **given: command(**given), command, {})


def with_search(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of a search after its own; it gets them built, with ``yes``, as ``search``."""
    added = dict(inspect.signature(_options).parameters)
    answer = inspect.Parameter("yes", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Yes)

    def train(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in added}
        yes = given.pop("yes")
        command(**given, **{PARAMETER: (lambda: _options(**chosen), yes)})

    return _with_signature(train, command, {**added, "yes": answer})


def _with_signature(
    function: Callable[..., None], shown: Callable[..., None], added: Mapping[str, inspect.Parameter]
) -> Callable[..., None]:
    """Typer reads a command's options from its signature, in which ``search`` is no option."""
    own, hints = _parameters(shown), _parameters(_options)
    parameters = [parameter for name, parameter in own.items() if name != PARAMETER]
    parameters += [hints.get(name, parameter) for name, parameter in added.items()]
    keyword = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([parameter.replace(kind=keyword) for parameter in parameters])
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Parameters with their annotations evaluated; the commands of one definition share them, for a quick start."""
    code = inspect.unwrap(function).__code__
    if code not in _READ:
        _READ[code] = inspect.signature(function, eval_str=True).parameters
    return _READ[code]
