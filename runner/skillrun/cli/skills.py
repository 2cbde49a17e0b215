"""``skillrun skills``: what the bank teaches agents, and whether a skill folder can be trusted and followed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from skillrun.cli import skills_trust
from skillrun.cli.options import Json
from skillrun.cli.output import Output
from skillrun.skills.places import PLACES, Agent

app = typer.Typer(help="Skills for agents: list, read, check, package, install and sign them.", no_args_is_help=True)
app.command()(skills_trust.sign)
app.command()(skills_trust.verify)


@app.command("list")
def list_skills(json: Json = False) -> None:
    """The skills of the bank, each with what it is for."""
    from skillrun.skills.read import read_skill, skill_folders

    rows = [(skill.name, skill.description) for skill in map(read_skill, skill_folders())]
    output = Output(json)
    output.table("skills", ("name", "description"), rows, "the bank has no skills")
    output.hint("skillrun skills show NAME")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a skill, as `skills list` shows it.")],
    reference: Annotated[
        str, typer.Option("--reference", metavar="FILE", help="Show one of its references instead of SKILL.md.")
    ] = "",
    json: Json = False,
) -> None:
    """What a skill says, and which references it has."""
    from skillrun.errors import NotFoundError
    from skillrun.skills.read import FILE, find_skill

    skill = find_skill(name)
    names = [path.name for path in skill.references]
    wanted = Path(reference).name
    if reference and wanted not in names:
        raise NotFoundError(
            "E_SKILL_REFERENCE",
            f"Skill {name} has no reference {reference!r}; it has {', '.join(names) or 'none'}.",
            f"skillrun skills show {name}",
        )
    path = skill.folder / "references" / wanted if reference else skill.folder / FILE
    text = path.read_text(encoding="utf-8")
    told = {"name": skill.name, "description": skill.description, "folder": str(skill.folder)}
    Output(json).data({**told, "references": names, "file": str(path), "text": text}, text.rstrip("\n"))


@app.command()
def validate(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Skill folders, or one that holds some.")],
    json: Json = False,
) -> None:
    """Specification, sizes, links, commands, secrets, unseen characters, risky shell. Exit 2 on any problem."""
    from skillrun.cli.check import finding_lines
    from skillrun.cli.parsing import problem_of
    from skillrun.skills.validate import validate as check

    skills = [skill for folder in folders for skill in _skills_in(folder)]
    findings = [finding for skill in skills for finding in check(skill, problem_of)]
    told = {"skills": [str(skill) for skill in skills], "findings": [finding.to_json() for finding in findings]}
    lines = [*finding_lines(findings), f"{len(skills)} skills, {len(findings)} problems"]
    Output(json).data({"ok": not findings, **told}, "\n".join(lines))
    if findings:
        raise typer.Exit(2)


@app.command()
def package(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make, or to make anew.")] = Path(
        "dist/skills"
    ),
    json: Json = False,
) -> None:
    """A marketplace folder for agents and one zip a skill, without links. Same bank, same bytes."""
    from skillrun.signed import quoted
    from skillrun.skills.package import write_package

    made = write_package(out)
    told = {"folder": str(made.folder), "skills": list(made.skills), "files": made.files}
    output = Output(json)
    output.data(told, f"{made.folder}: {len(made.skills)} skills, {made.files} files")
    output.hint(f"skillrun skills sign {quoted(out)} --key KEY.pem")


@app.command()
def install(
    agent: Annotated[Agent, typer.Option("--agent", help="Whose skills folder.")],
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Skills (default: all).")] = None,
    place: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="A project instead of the home folder.")
    ] = None,
    json: Json = False,
) -> None:
    """Copy skills to where an agent looks for them. What skillrun did not put there is left alone."""
    from skillrun.skills.install import install as copy

    done = copy(agent, (place or Path.home()).expanduser().absolute(), names or ())
    rows = [{"name": item.name, "folder": str(item.folder), "state": item.state} for item in done]
    output = Output(json)
    output.data(
        {"agent": agent, "skills": rows}, "\n".join(f"{item.state:9}  {item.name}  {item.folder}" for item in done)
    )
    output.say(f"start {agent} anew: it reads {PLACES[agent]} when it starts")


def _skills_in(folder: Path) -> list[Path]:
    """The folder, or all folders in it where one of them is a skill: one without SKILL.md is told, not passed over."""
    from skillrun.errors import NotFoundError
    from skillrun.skills.read import FILE

    if not folder.is_dir():
        raise NotFoundError("E_SKILL_MISSING", f"{folder} is no folder.", "skillrun skills validate DIR")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    holds_skills = not (folder / FILE).exists() and any((path / FILE).exists() for path in inside)
    return inside if holds_skills else [folder]
