"""Evaluations of the skills: their published shapes, the gates of the baseline, and an agent that can also fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skillrun.maintain.evals import check_evals, eval_files

ROOT = Path(__file__).parents[2]
QUESTION = {"id", "question", "expected_skill", "expected_script", "ground_truth", "expected_behavior"}
CASE = {"id", "prompt", "expected_output", "files", "assertions"}
# Those that take a second or two, and two that train or measure.
QUICK = (
    "mend-a-wrong-key",
    "mend-a-bad-table",
    "lost-answer",
    "refuse-one-class",
    "engine-without-tensorrt",
    "hand-over-a-search",
    "look-at-the-host",
)


@pytest.fixture(scope="module")
def evals() -> Any:
    """The modules of ``evals/``, by attribute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "evals"))
        import agent
        import retriever
        import tasks
        import triggers
        import workshop

        found = {"agent": agent, "retriever": retriever, "tasks": tasks, "triggers": triggers, "workshop": workshop}
        yield type("Evals", (), found)


@pytest.fixture(scope="module")
def shop(evals: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Workspaces in a folder with an awkward name; earlier runs are made once."""
    return evals.workshop.Workshop(tmp_path_factory.mktemp("a b'c ü,é$x"))


def task(evals: Any, name: str) -> Any:
    (found,) = [one for one in evals.tasks.read_tasks() if one["id"] == name]
    return found


# --- shapes --------------------------------------------------------------------------------------------------------


def test_every_skill_has_both_shapes_and_they_are_up_to_date() -> None:
    files = eval_files(ROOT)
    skills = {path.parent.name for path in ROOT.glob("skills/*/SKILL.md")}
    assert {path.parts[1] for path in files} == skills and len(files) == 2 * len(skills)
    for path, content in files.items():
        assert (ROOT / path).read_bytes() == content, f"{path}: skillrun bank generate"
    assert not list(check_evals(ROOT, files))


def test_the_shapes_have_the_published_fields() -> None:
    for path, content in eval_files(ROOT).items():
        told = json.loads(content)
        if path.name == "questions.json":
            assert all(set(row) == QUESTION and row["expected_behavior"] for row in told)
        else:
            assert told["skill_name"] == path.parts[1] and told["evals"]
            assert all(set(case) == CASE and case["assertions"] for case in told["evals"])
            assert "{" not in content.decode().replace("{\n", "")[1:]


def test_a_file_that_no_source_asks_for_is_told(tmp_path: Path) -> None:
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals/tasks.yaml").write_text("[]", encoding="utf-8")
    old = tmp_path / "skills/gone/evals/evals.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}", encoding="utf-8")
    assert [found.kind for found in check_evals(tmp_path, {})] == ["stale"]


def test_a_bank_without_sources_has_no_cases_to_compare(tmp_path: Path) -> None:
    (tmp_path / "skills/one/evals").mkdir(parents=True)
    (tmp_path / "skills/one/evals/evals.json").write_text("{}", encoding="utf-8")
    assert eval_files(tmp_path) == {} and not list(check_evals(tmp_path, {}))


def test_there_are_enough_queries_and_tasks_for_every_skill(evals: Any) -> None:
    queries, tasks = evals.triggers.read_queries(), evals.tasks.read_tasks()
    near = [query for query in queries if "near" in query]
    assert len(near) >= 14 and len(queries) - len(near) >= 14 and len(tasks) >= 12
    held = sum(bool(query.get("held")) for query in queries)
    assert 0.35 <= held / len(queries) <= 0.45
    ids = [one["id"] for one in [*queries, *tasks]]
    assert len(ids) == len(set(ids))
    skills = set(evals.triggers.descriptions())
    assert {query["expected_skill"] for query in queries} == skills | {None} == {one["skill"] for one in tasks} | {None}
    assert {query["near"] for query in near} == skills
    assert all(query["near"] != query["expected_skill"] for query in near)


def test_no_query_repeats_a_description(evals: Any) -> None:
    descriptions = " ".join(evals.triggers.descriptions().values()).lower().split()
    runs = {tuple(descriptions[place : place + 5]) for place in range(len(descriptions))}
    for query in evals.triggers.read_queries():
        words = query["query"].lower().split()
        assert not runs & {tuple(words[place : place + 5]) for place in range(len(words) - 4)}, query["id"]


# --- triggers ------------------------------------------------------------------------------------------------------


def test_the_baseline_passes_its_gates(evals: Any) -> None:
    _, parts = evals.triggers.score_triggers(evals.triggers.descriptions())
    assert all(part.passed for part in parts), parts
    assert parts[0].recall >= 0.9 and parts[0].woken <= 0.1 * parts[0].near


def test_descriptions_that_say_nothing_miss_the_gates(evals: Any) -> None:
    empty = dict.fromkeys(evals.triggers.descriptions(), "Use when there is something to do.")
    _, parts = evals.triggers.score_triggers(empty)
    assert not any(part.passed for part in parts)


def test_the_baseline_reads_not_for_as_a_reason_against(evals: Any) -> None:
    told = {"a": "Use when bread is baked. Not for cake.", "b": "Use when cake is baked. Not for bread."}
    retriever = evals.retriever.Retriever(told, threshold=0.5)
    assert retriever.choose("bake a cake").skill == "b"
    assert retriever.choose("bred, not cake").skill in ("a", None)
    assert retriever.choose("file my taxes").skill is None


@pytest.mark.parametrize(
    ("scored", "between"),
    [([(3, True), (2, True), (1, False)], (1, 2)), ([(1, True)], (-1, 1)), ([(5, False), (9, True)], (5, 9))],
)
def test_the_threshold_lies_where_it_divides_best(scored: Any, between: Any, evals: Any) -> None:
    assert between[0] < evals.retriever.best_threshold(scored) <= between[1]


# --- tasks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
def test_the_scripted_agent_gets_a_task_done_through_the_tools(name: str, evals: Any, shop: Any) -> None:
    score = evals.tasks.attempt(task(evals, name), shop)
    assert score.wrong == ()
    assert score.calls >= 3 and 5000 < score.tokens < 12_000


def test_an_agent_that_ignores_a_fix_fails(evals: Any, tmp_path: Path) -> None:
    class Stubborn(evals.agent.Agent):  # type: ignore[misc, name-defined]
        def mend(self, fields: Any, problem: Any) -> bool:
            return bool(problem["fix"])  # and changes nothing

    score = evals.tasks.attempt(task(evals, "mend-a-wrong-key"), evals.workshop.Workshop(tmp_path), Stubborn)
    assert any("One training ran" in why for why in score.wrong)
    assert any("No more than two plans" in why for why in score.wrong)


def test_an_agent_that_starts_another_name_each_time_starts_twice_and_fails(evals: Any, shop: Any) -> None:
    class Forgetful(evals.agent.Agent):  # type: ignore[misc, name-defined]
        def launch(self, fields: Any, key: str, plan_hash: str = "") -> str:
            run: str = super().launch(fields, f"{key} {len(self.door.calls)}", plan_hash)
            self.finish(run)
            return run

    wanted = {**task(evals, "lost-answer")}
    scripted = evals.workshop.Workshop(shop.folder / "forgetful")
    scripted.__dict__["trained"] = shop.trained
    score = evals.tasks.attempt(wanted, scripted, Forgetful)
    assert any("Both launches told the same run" in why for why in score.wrong)
    assert any("One evaluation ran" in why for why in score.wrong)


def test_no_task_passes_where_nothing_was_done(evals: Any, shop: Any) -> None:
    from checks import Scene
    from door import Door

    for one in evals.tasks.read_tasks():
        place, given = shop.workspace(f"idle {one['id']}", one["given"])
        wrong = evals.tasks.judge(one, Scene(Door(place), given, {}))
        assert len(wrong) >= 2, one["id"]
        assert "Reads the skill" in wrong[0]
