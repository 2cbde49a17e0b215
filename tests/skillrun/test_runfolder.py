"""Run folders: atomic files, ids, and how a run is found again."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from skillrun.errors import NotFoundError, UsageError
from skillrun.runfolder import (
    RunFolder,
    check_writable,
    find_run,
    list_runs,
    new_run_id,
    read_json,
    workspace,
    write_atomic,
)

OLD, MIDDLE, NEW = "261120-120000-train-aa", "261120-130000-evaluate-bb", "261121-090000-train-cc"


@pytest.fixture
def root(hostile_dir: Path) -> Path:
    """A workspace with three runs, and things beside them that are no runs."""
    for name in (MIDDLE, OLD, NEW):
        folder = hostile_dir / "runs" / name
        folder.mkdir(parents=True)
        RunFolder(folder).write_record(run_id=name)
    (hostile_dir / "runs" / "zz-no-run").mkdir()
    (hostile_dir / "runs" / "zz.txt").touch()
    return hostile_dir


def test_a_written_file_holds_the_text_and_nothing_is_left_aside(hostile_dir: Path) -> None:
    path = hostile_dir / "run.json"
    write_atomic(path, "old ü\n")
    write_atomic(path, "new ü\n")
    assert path.read_text(encoding="utf-8") == "new ü\n"
    assert [child.name for child in hostile_dir.iterdir()] == ["run.json"]


def test_a_write_that_fails_keeps_the_old_content(hostile_dir: Path) -> None:
    path = hostile_dir / "run.json"
    write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomic(path, "half of the new text " * 10_000 + "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert [child.name for child in hostile_dir.iterdir()] == ["run.json"]


def test_a_rename_that_fails_leaves_nothing_aside(hostile_dir: Path) -> None:
    (hostile_dir / "run.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(hostile_dir / "run.json", "text")
    assert [child.name for child in hostile_dir.iterdir()] == ["run.json"]


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '"text"', '{"a": 1'])
def test_a_file_without_an_object_reads_as_nothing(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "exit.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert read_json(path) is None


def test_a_path_below_a_file_reads_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_json(tmp_path / "file" / "run.json") is None


def test_a_file_that_is_no_text_reads_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b'{"a": "\xff"}')
    assert read_json(tmp_path / "result.json") is None


def test_a_record_is_merged_key_by_key(hostile_dir: Path) -> None:
    run = RunFolder(hostile_dir)
    run.write_record(run_id="a", action="train")
    run.write_record(action="evaluate", handle={"pid": 1})
    assert run.read_record() == {"run_id": "a", "action": "evaluate", "handle": {"pid": 1}}
    assert json.loads(run.record.read_text(encoding="utf-8")) == run.read_record()


def test_a_folder_without_a_record_is_no_run(hostile_dir: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no run\.json"):
        RunFolder(hostile_dir).read_record()


def test_every_file_of_a_run_lies_inside_its_folder(hostile_dir: Path) -> None:
    run = RunFolder(hostile_dir / "one")
    paths = [run.plan, run.spec, run.record, run.events, run.log, run.exit, run.result, run.results]
    assert {path.parent for path in paths} == {run.path}
    assert len({path.name for path in paths}) == len(paths)
    assert run.run_id == "one"


def test_the_workspace_is_the_flag_then_the_variable_then_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKILLRUN_WORKSPACE", str(tmp_path / "variable"))
    assert workspace(Path("flag")) == tmp_path / "flag"
    assert workspace() == tmp_path / "variable"
    monkeypatch.setenv("SKILLRUN_WORKSPACE", "")
    assert workspace() == tmp_path


def test_ids_name_the_action_and_sort_by_time() -> None:
    early = new_run_id("train", datetime(2026, 11, 20, 22, 36, 12, tzinfo=UTC))
    late = new_run_id("evaluate", datetime(2026, 12, 1, 0, 0, 0, tzinfo=UTC))
    assert re.fullmatch(r"261120-223612-train-[0-9a-f]{4}", early)
    assert early < late


def test_a_folder_that_is_there_or_can_be_made_is_writable(hostile_dir: Path) -> None:
    check_writable(hostile_dir, what="the workspace")
    check_writable(hostile_dir / "not" / "yet" / "there", what="the workspace")
    assert list(hostile_dir.iterdir()) == []


def test_a_file_in_the_way_is_named(hostile_dir: Path) -> None:
    (hostile_dir / "file").touch()
    with pytest.raises(UsageError, match=r"the results folder .*results.*file is a file") as caught:
        check_writable(hostile_dir / "file" / "results", what="the results folder")
    assert caught.value.code == "E_RESULTS_NOT_A_FOLDER"
    assert "--results" in caught.value.fix


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that refuses even root")
def test_a_folder_that_refuses_files_is_named() -> None:
    with pytest.raises(UsageError, match="not writable") as caught:
        check_writable(Path("/proc/skillrun/results"), what="the workspace")
    assert caught.value.code == "E_RESULTS_NOT_WRITABLE"


def test_a_name_that_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        check_writable(tmp_path / ("x" * 300), what="the results folder")


def test_runs_are_listed_newest_first_and_other_folders_left_out(root: Path) -> None:
    assert [run.run_id for run in list_runs(root)] == [NEW, MIDDLE, OLD]


def test_a_workspace_without_runs_lists_none(hostile_dir: Path) -> None:
    assert list(list_runs(hostile_dir)) == []


@pytest.mark.parametrize(
    ("reference", "wanted"), [(OLD, OLD), ("261121", NEW), ("261120-13", MIDDLE), ("last", NEW)], ids=str
)
def test_a_run_is_found_by_id_unique_beginning_and_last(root: Path, reference: str, wanted: str) -> None:
    assert find_run(reference, root).run_id == wanted


def test_a_run_is_found_by_its_folder_from_anywhere(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "runs")
    assert find_run(str(root / "runs" / OLD), Path("/nowhere")).run_id == OLD
    assert find_run(MIDDLE, Path("/nowhere")).path == root / "runs" / MIDDLE


def test_an_id_that_begins_another_is_still_found(root: Path) -> None:
    RunFolder(root / "runs" / f"{OLD}-2").path.mkdir()
    RunFolder(root / "runs" / f"{OLD}-2").write_record(run_id="longer")
    assert find_run(OLD, root).run_id == OLD


def test_a_beginning_of_several_ids_is_refused_with_the_ids(root: Path) -> None:
    with pytest.raises(UsageError, match=f"{MIDDLE}, {OLD}") as caught:
        find_run("261120", root)
    assert caught.value.code == "E_RUN_AMBIGUOUS"


def test_a_run_that_is_not_there_is_refused_with_the_nearest_id(root: Path) -> None:
    with pytest.raises(NotFoundError, match=f"did you mean {OLD}") as caught:
        find_run("261120-120000-trian-aa", root)
    assert caught.value.fix == "skillrun runs list"


def test_last_in_an_empty_workspace_is_not_found(hostile_dir: Path) -> None:
    with pytest.raises(NotFoundError, match="no run 'last'"):
        find_run("last", hostile_dir)


@pytest.mark.parametrize("reference", ["~nobody-of-that-name", "x" * 300], ids=["no such home", "too long"])
def test_a_reference_that_is_no_path_is_not_found(root: Path, reference: str) -> None:
    with pytest.raises(NotFoundError):
        find_run(reference, root)
