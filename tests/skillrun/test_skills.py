"""The four skills: valid, short, followed word by word by the real command lines, and never behind their sources."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from skillrun import bank
from skillrun.cli import skills as commands
from skillrun.cli.parsing import problem_of
from skillrun.errors import NotFoundError, UsageError
from skillrun.maintain.generate import check, generate, write
from skillrun.maintain.skill_tables import TABLES
from skillrun.maintain.skills import check_skills, links, skill_texts
from skillrun.skills.markdown import read_page, words_of
from skillrun.skills.read import Skill, read_skill, skill_folders
from skillrun.skills.validate import BODY_LINES, BODY_TOKENS, tokens, validate
from visual_changenet import cli as container

ROOT = bank.bank_root()
FOLDERS = skill_folders()
NAMES = ["launch-runs", "run-automl", "visual-changenet", "visual-changenet-deploy"]
TEXTS = [path for folder in FOLDERS for path in [folder / "SKILL.md", *sorted(folder.glob("references/*.md"))]]
WRITTEN = [path for path in TEXTS if not path.is_symlink()]
SPAN = re.compile(r"`([^`]+)`")


def test_the_four_skills_are_there() -> None:
    assert [folder.name for folder in FOLDERS] == NAMES


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_skill_has_no_problem_at_all(folder: Path) -> None:
    assert [finding.message for finding in validate(folder, problem_of)] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_skill_is_short_and_says_first_when_to_use_it(folder: Path) -> None:
    skill = read_skill(folder)
    assert (
        len(skill.description) <= 450 and skill.description.startswith("Use when ") and " Not for " in skill.description
    )
    assert skill.body.count("\n") < BODY_LINES and tokens(skill.body) < BODY_TOKENS
    assert {"## Instructions", "## Examples"} <= set(skill.body.split("\n"))


def test_all_descriptions_together_leave_room_for_other_skills() -> None:
    assert sum(len(read_skill(folder).description) for folder in FOLDERS) <= 1800


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_stands_in_running_text_can_be_typed_too(path: Path) -> None:
    prose = read_page(path.read_text(encoding="utf-8")).prose
    for number, line in prose:
        for span in SPAN.findall(line):
            if span.startswith("skillrun ") and "<" not in span:
                problem = problem_of(words_of(span.partition(" > ")[0])[0])
                # A command may be named without its arguments.
                assert not problem or problem.startswith("Missing ") or "[" in span, f"{path}, line {number}: {problem}"


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_key_with_a_value_in_running_text_is_one_of_the_schemas(path: Path) -> None:
    actions = bank.actions("visual_changenet")
    for number, line in read_page(path.read_text(encoding="utf-8")).prose:
        for span in SPAN.findall(line):
            if (
                span != "key=value"
                and re.fullmatch(r"[a-z_.]+=\S*", span)
                and not span.startswith(("results_dir=/", "evaluate.checkpoint=/"))
            ):
                tried = [problem_of(["skillrun", "visual_changenet", "spec", name, span]) for name in actions]
                assert "" in tried, f"{path}, line {number}: {tried[0]}"


def test_commands_of_the_container_are_read_by_its_own_parser() -> None:
    seen = 0
    for path in WRITTEN:
        for _, command in read_page(path.read_text(encoding="utf-8")).commands():
            for words in words_of(command):
                if words[0] == "visual_changenet":
                    assert container._parser().parse_intermixed_args(words[1:]).action == words[1]
                    seen += 1
    assert seen >= 5


QUICK = ("explain", "template", "spec")


def quick_commands() -> list[str]:
    """Commands of blocks that only look something up, and need no value of the reader."""
    found = {
        " ".join(words)
        for path in WRITTEN
        for _, command in read_page(path.read_text(encoding="utf-8")).commands()
        for words in words_of(command)
        if set(words[1:3]) & set(QUICK) and not any(word.isupper() and not word.startswith("E_") for word in words)
    }
    return sorted(found)


@pytest.mark.parametrize("line", quick_commands())
def test_a_quick_command_of_a_block_is_run_and_answers(line: str) -> None:
    program = [sys.executable, "-c", "from skillrun.cli import main; main()"]
    done = subprocess.run([*program, *line.split()[1:]], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_quick_commands_were_found() -> None:
    assert len(quick_commands()) >= 4


def test_every_documented_code_and_pattern_is_told() -> None:
    told = "".join(path.read_text(encoding="utf-8") for path in WRITTEN)
    patterns = set(re.findall(r"`([EW]_[A-Z_]+)`", (ROOT / "docs/error-patterns.md").read_text(encoding="utf-8")))
    assert patterns and patterns <= set(re.findall(r"[EW]_[A-Z_]+", told))


def test_every_action_is_told_by_one_of_the_skills() -> None:
    told = "".join((ROOT / "skills" / name / "SKILL.md").read_text(encoding="utf-8") for name in NAMES[2:])
    assert all(f"| `{action}` |" in told for action in bank.actions("visual_changenet"))


# Generated parts


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A writable copy of what the skills are made from, at an odd path."""
    root = tmp_path / "bank 'ü', copy"
    for name in ("schemas", "references", "skills", "docs"):
        shutil.copytree(ROOT / name, root / name, symlinks=True)
    for name in ("runner", "containers"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture(scope="module")
def files() -> dict[Path, bytes]:
    """What the sources give."""
    return generate(ROOT)


def test_tables_and_links_are_those_of_the_sources(files: dict[Path, bytes]) -> None:
    stale = [str(path) for path in skill_texts(ROOT, files) if (ROOT / path).read_bytes() != files[path]]
    assert not stale, "skillrun bank generate"
    assert [str(item) for item in check_skills(ROOT)] == []


def test_an_edited_table_and_a_lost_link_are_drift_and_are_mended(checkout: Path) -> None:
    page, link = (checkout / "skills/visual-changenet" / name for name in ("SKILL.md", "schemas/train.schema.json"))
    before = page.read_bytes()
    page.write_bytes(before.replace(b"| `export` | classify |", b"| `export` | segment |"))
    link.unlink()
    stray = checkout / "skills/launch-runs/references/old.yaml"
    stray.symlink_to("nowhere")
    found = {(item.path.name, item.kind) for item in check(checkout) if item.path.parts[0] == "skills"}
    assert found == {("SKILL.md", "text"), ("train.schema.json", "missing"), ("old.yaml", "stale")}
    assert {path.name for path in write(checkout)} >= {"SKILL.md", "train.schema.json"}
    assert page.read_bytes() == before and link.is_file()


def test_a_new_key_of_the_contract_reaches_the_tables(checkout: Path, files: dict[Path, bytes]) -> None:
    contract = checkout / "references/visual_changenet/skill_info.yaml"
    text = contract.read_text(encoding="utf-8")
    contract.write_text(text.replace("  num_epochs: train", "  epochs: train.num_epochs\n  num_epochs: train"), "utf-8")
    page = skill_texts(checkout, files)[Path("skills/visual-changenet/references/dataset-and-specs.md")]
    assert b"| `epochs` | `train.num_epochs` |" in page


@pytest.mark.parametrize("edit", ["generated: nothing", "generated: actions train -->\n<!-- generated: exits"])
def test_a_marker_without_table_or_end_is_drift(checkout: Path, edit: str) -> None:
    page = checkout / "skills/visual-changenet/SKILL.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("generated: actions train", edit, 1), encoding="utf-8")
    assert "marker" in {item.kind for item in check_skills(checkout)}


def test_a_marker_that_asks_for_what_is_gone_is_told_with_its_file(checkout: Path, files: dict[Path, bytes]) -> None:
    page = checkout / "skills/visual-changenet/SKILL.md"
    text = page.read_text(encoding="utf-8")
    for old, new in (("train.optim.lr,", "train.optim.rate,"), ("generated: actions train", "generated: commands fly")):
        page.write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(UsageError) as caught:
            skill_texts(checkout, files)
        assert caught.value.code == "E_SKILL_TABLE" and str(page) in caught.value.message


def test_every_table_is_used_and_no_skill_has_a_table_by_hand_of_what_is_generated() -> None:
    told = "".join(path.read_text(encoding="utf-8") for path in WRITTEN)
    assert {name for name in TABLES if f"generated: {name}" not in told} == set()


def test_links_are_relative_and_stay_in_the_bank() -> None:
    assert links(ROOT)
    for path, target in links(ROOT).items():
        assert not target.is_absolute() and Path(os.path.realpath(ROOT / path)).is_relative_to(ROOT)


def test_every_link_shows_a_file_because_wheels_follow_two_links_to_one_folder_once() -> None:
    shown = [path for path in (ROOT / "skills").rglob("*") if path.is_symlink()]
    assert shown and all(path.is_file() for path in shown)


# Commands


def test_list_and_show_give_the_same_as_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    commands.list_skills(json=True)
    listed = json.loads(capsys.readouterr().out)["skills"]
    assert [row["name"] for row in listed] == NAMES
    commands.show("run-automl", json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["references"] == ["search-options.md"] and shown["text"].startswith("---\nname: run-automl\n")
    commands.show("run-automl", reference="search-options.md")
    assert capsys.readouterr().out.startswith("# Options of a search\n")


def test_a_misspelt_skill_or_reference_names_what_there_is() -> None:
    with pytest.raises(NotFoundError) as caught:
        commands.show("run-autml")
    assert caught.value.code == "E_SKILL_UNKNOWN" and "run-automl" in caught.value.message
    with pytest.raises(NotFoundError) as caught:
        commands.show("run-automl", reference="../../visual-changenet/SKILL.md")
    assert caught.value.code == "E_SKILL_REFERENCE" and "search-options.md" in caught.value.message


def test_validate_takes_a_folder_of_skills_and_ends_with_2_where_one_is_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.validate([ROOT / "skills"], json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] and len(told["skills"]) == 4
    (tmp_path / "good-one").mkdir()
    (tmp_path / "good-one/SKILL.md").write_text("---\nname: good-one\ndescription: Use when it rains.\n---\nStay.\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(typer.Exit) as ended:
        commands.validate([tmp_path], json=True)
    told = json.loads(capsys.readouterr().out)
    assert ended.value.exit_code == 2 and [item["code"] for item in told["findings"]] == ["E_SKILL_MISSING"]
    with pytest.raises(NotFoundError):
        commands.validate([tmp_path / "nowhere"])


def test_a_skill_tells_its_name_and_where_its_body_begins() -> None:
    skill: Skill = read_skill(ROOT / "skills/launch-runs")
    assert skill.name == "launch-runs" and skill.body_line > 8
    assert (skill.folder / "SKILL.md").read_text(encoding="utf-8").split("\n")[skill.body_line - 1 :] == (
        skill.body.split("\n")
    )
