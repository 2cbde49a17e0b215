"""What an agent may read besides calling tools: schemas, spec templates, skills, logs and reports, by address."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from skillrun import bank
from skillrun.errors import NotFoundError
from skillrun.runfolder import RunFolder, list_runs

# How much of the end of a log is shown, in bytes.
LOG_BYTES = 200_000
# Of how many runs, newest first, the logs and reports are listed; those of all others can be read too.
LISTED = 10

Values = Mapping[str, str]


@dataclass(frozen=True)
class Kind:
    """One kind of text.

    Attributes:
        name: what it is, in a word or two.
        address: URI template (RFC 6570, level 1).
        mime: its media type.
        description: when to read it.
        read: ``(values of the address, workspace) -> text``; raises NotFoundError.
        known: ``workspace -> values`` of those that are listed.
    """

    name: str
    address: str
    mime: str
    description: str
    read: Callable[[Values, Path], str]
    known: Callable[[Path], Iterator[Values]]

    def at(self, values: Values) -> str:
        """The address with its values, which need no quoting."""
        return self.address.format(**values)


def schema_text(values: Values, _root: Path) -> str:
    """The JSON schema (draft 2020-12) of an action's spec, as it is packaged."""
    _known(values)
    return bank.schema_path(values["model"], values["action"]).read_text(encoding="utf-8")


def template_text(values: Values, _root: Path) -> str:
    """The commented YAML template of an action's spec."""
    _known(values)
    return bank.template(values["model"], values["action"])


def _known(values: Values) -> None:
    if values not in list(_actions(Path())):
        told = f"no action {values['action']!r} of a model {values['model']!r}"
        raise NotFoundError("E_RESOURCE_UNKNOWN", told, "list the resources")


def _actions(_root: Path) -> Iterator[Values]:
    for model in bank.models():
        yield from ({"model": model, "action": action} for action in bank.actions(model))


def skill_text(values: Values, _root: Path) -> str:
    """``SKILL.md`` of a skill."""
    from skillrun.skills.read import FILE, find_skill

    return (find_skill(values["name"]).folder / FILE).read_text(encoding="utf-8")


def _skills(_root: Path) -> Iterator[Values]:
    from skillrun.skills.read import skill_folders

    yield from ({"name": folder.name} for folder in skill_folders())


def log_text(values: Values, root: Path) -> str:
    """The end of what a run printed, from a full line on."""
    log = _run(values, root).log
    if not log.is_file():
        return ""
    with log.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - LOG_BYTES))
        data = stream.read()
    if size > LOG_BYTES:
        data = data.partition(b"\n")[2]
    return data.decode("utf-8", errors="replace")


def report_text(values: Values, root: Path) -> str:
    """The HTML report of a run."""
    from skillrun.report.write import PAGE

    return _report(values, root, PAGE)


def numbers_text(values: Values, root: Path) -> str:
    """The machine copy of a run's report."""
    from skillrun.report.write import NUMBERS

    return _report(values, root, NUMBERS)


def _report(values: Values, root: Path, name: str) -> str:
    run = _run(values, root)
    path = run.path / name
    if not path.is_file():
        told = f"nobody wrote a report of {run.run_id} yet"
        raise NotFoundError("E_REPORT_MISSING", told, f"skillrun report {run.run_id}")
    return path.read_text(encoding="utf-8")


def _run(values: Values, root: Path) -> RunFolder:
    """A run of this workspace by its whole id: an address never leads to a folder elsewhere."""
    found = next((run for run in list_runs(root) if run.run_id == values["run"]), None)
    if found is None:
        raise NotFoundError("E_RUN_NOT_FOUND", f"no run {values['run']!r} in {root / 'runs'}", "skillrun runs list")
    return found


def _runs(root: Path) -> Iterator[Values]:
    yield from ({"run": run.run_id} for run in islice(list_runs(root), LISTED))


def _reported(root: Path) -> Iterator[Values]:
    from skillrun.report.write import PAGE

    for run in islice(list_runs(root), LISTED):
        if (run.path / PAGE).is_file():
            yield {"run": run.run_id}


SCHEMA = Kind(
    "schema",
    "skillrun://schemas/{model}/{action}",
    "application/schema+json",
    "All keys of an action's spec, with bounds. Large: skillrun_get_schema shows one section.",
    schema_text,
    _actions,
)
TEMPLATE = Kind(
    "spec template",
    "skillrun://templates/{model}/{action}",
    "application/yaml",
    "The default spec of an action, with comments.",
    template_text,
    _actions,
)
SKILL = Kind(
    "skill",
    "skillrun://skills/{name}",
    "text/markdown",
    "What to do, when and with which commands.",
    skill_text,
    _skills,
)
LOG = Kind("log", "skillrun://runs/{run}/log", "text/plain", "The end of what a run printed.", log_text, _runs)
REPORT = Kind(
    "report",
    "skillrun://runs/{run}/report",
    "text/html",
    "The page about a run, for people; skillrun_get_result with report=true writes it.",
    report_text,
    _reported,
)
NUMBERS = Kind(
    "report numbers",
    "skillrun://runs/{run}/numbers",
    "application/json",
    "The numbers of that page.",
    numbers_text,
    _reported,
)
KINDS = (SCHEMA, TEMPLATE, SKILL, LOG, REPORT, NUMBERS)
