"""Copies of skills arrive where each agent looks, again and again, and what is not ours stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from skillrun.cli.parsing import problem_of
from skillrun.errors import SkillrunError
from skillrun.skills import copies
from skillrun.skills import install as module
from skillrun.skills.copies import contents_of, digest
from skillrun.skills.install import RECORD, install
from skillrun.skills.places import PLACES, Agent
from skillrun.skills.validate import validate

NAME = "run-automl"


def states(home: Path, *names: str) -> dict[str, str]:
    return {item.name: item.state for item in install("claude-code", home, names)}


def changed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The bank's skills have another content from now on."""
    real = copies.skill_contents
    monkeypatch.setattr(module, "skill_contents", lambda folder: {**real(folder), "references/new.md": text.encode()})


@pytest.mark.parametrize("agent", PLACES)
def test_skills_arrive_where_the_agent_looks_and_are_whole(hostile_dir: Path, agent: Agent) -> None:
    done = install(agent, hostile_dir)
    assert {item.folder.parent for item in done} == {hostile_dir / PLACES[agent]} and len(done) == 4
    for item in done:
        assert validate(item.folder, problem_of) == []
        assert not [path for path in item.folder.rglob("*") if path.is_symlink()]
    assert sorted(path.name for path in (hostile_dir / PLACES[agent]).iterdir()) == sorted(
        [RECORD, *(item.name for item in done)]
    )


def test_a_second_time_changes_nothing_and_a_newer_bank_replaces(
    hostile_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert states(hostile_dir, NAME, NAME) == {NAME: "new"}
    place = hostile_dir / PLACES["claude-code"]
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    assert states(hostile_dir, NAME) == {NAME: "unchanged"}
    assert before == {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    for text in ("one", "two", "three"):
        with monkeypatch.context() as context:
            changed(context, text)
            assert states(hostile_dir, NAME) == {NAME: "replaced"}
            assert (place / NAME / "references/new.md").read_text(encoding="utf-8") == text
    assert states(hostile_dir, NAME) == {NAME: "replaced"}
    assert not (place / NAME / "references/new.md").exists()


def own(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text("mine", encoding="utf-8")


def own_link(folder: Path) -> None:
    own(folder.parent / "elsewhere")
    folder.symlink_to("elsewhere")


def own_file(folder: Path) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("mine", encoding="utf-8")


def edited(folder: Path) -> None:
    install("claude-code", folder.parents[2], [NAME])
    (folder / "SKILL.md").write_text("mine", encoding="utf-8")


@pytest.mark.parametrize("make", [own, own_link, own_file, edited])
def test_what_somebody_else_put_there_stays_and_nothing_is_written(
    hostile_dir: Path, make: Callable[[Path], None]
) -> None:
    place = hostile_dir / PLACES["claude-code"]
    make(place / NAME)
    before = sorted(map(str, place.rglob("*")))
    with pytest.raises(SkillrunError) as caught:
        install("claude-code", hostile_dir)
    assert (caught.value.code, caught.value.exit_code) == ("E_SKILL_FOREIGN", 6) and NAME in caught.value.message
    assert sorted(map(str, place.rglob("*"))) == before


def test_a_lost_record_is_found_again_by_equal_content(hostile_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("claude-code", hostile_dir, [NAME])
    place = hostile_dir / PLACES["claude-code"]
    (place / RECORD).write_text('{"skills": []}', encoding="utf-8")
    assert states(hostile_dir, NAME) == {NAME: "unchanged"}
    changed(monkeypatch, "x")
    assert states(hostile_dir, NAME) == {NAME: "replaced"}


def test_a_crash_between_the_steps_leaves_what_can_be_installed_again(
    hostile_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("claude-code", hostile_dir, [NAME])
    folder = hostile_dir / PLACES["claude-code"] / NAME
    first = contents_of(folder)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for text in ("one", "two"):
        with monkeypatch.context() as context:
            changed(context, text)
            context.setattr(module, "put", crash)
            with pytest.raises(KeyboardInterrupt):
                install("claude-code", hostile_dir, [NAME])
        assert contents_of(folder) == first
    changed(monkeypatch, "three")
    assert states(hostile_dir, NAME) == {NAME: "replaced"}
    told = json.loads((folder.parent / RECORD).read_text(encoding="utf-8"))["skills"]
    assert told == {NAME: [digest(contents_of(folder) or {})]}


def test_a_place_that_can_not_be_written_to_is_named(hostile_dir: Path) -> None:
    (hostile_dir / ".claude").write_text("x", encoding="utf-8")
    with pytest.raises(SkillrunError) as caught:
        install("claude-code", hostile_dir)
    assert (caught.value.code, caught.value.exit_code) == ("E_SKILL_WRITE", 3)


def test_an_unknown_skill_is_named_with_the_nearest(hostile_dir: Path) -> None:
    with pytest.raises(SkillrunError, match="did you mean run-automl") as caught:
        install("codex", hostile_dir, ["run-automI"])
    assert caught.value.code == "E_SKILL_UNKNOWN" and not (hostile_dir / ".agents").exists()


def run(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from skillrun.cli import main; main()", "skills", *words]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=home, env={**os.environ, "HOME": str(home)}
    )


def test_the_command_says_what_it_wrote_and_what_comes_next(hostile_dir: Path) -> None:
    done = run("install", "--agent", "codex", NAME, "--json", home=hostile_dir)
    (row,) = json.loads(done.stdout)["skills"]
    assert row == {"name": NAME, "folder": str(hostile_dir / ".agents/skills" / NAME), "state": "new"}
    assert "start codex anew" in done.stderr
    (hostile_dir / "project").mkdir()
    done = run("install", "--agent", "cursor", "--dir", "project", home=hostile_dir)
    assert done.returncode == 0 and (hostile_dir / "project/.cursor/skills" / NAME / "SKILL.md").is_file()
    wrong = run("install", "--agent", "emacs", home=hostile_dir)
    assert wrong.returncode == 2 and all(agent in wrong.stderr for agent in PLACES)
    made = run("package", "--out", "out", "--json", home=hostile_dir)
    assert json.loads(made.stdout)["folder"] == str(hostile_dir / "out")
