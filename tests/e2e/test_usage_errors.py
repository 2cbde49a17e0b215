"""A command line that can not be read, and ends that nobody planned: the same error object as everywhere."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skillrun.catalogue import entries
from skillrun.cli.parsing import problem_of

PROGRAM = str(Path(sys.executable).with_name("skillrun"))
TRAIN = "visual_changenet train"

# What is typed -> the code, and the command that the fix names.
WRONG = {
    "runs shw last": ("E_ARG_COMMAND", "skillrun runs show last"),
    "run list": ("E_ARG_COMMAND", "skillrun runs list"),
    "train num_epochs=3": ("E_ARG_COMMAND", "skillrun visual_changenet train num_epochs=3"),
    "fly": ("E_ARG_COMMAND", "skillrun --help"),
    "runs": ("E_ARG_COMMAND", "skillrun runs --help"),
    "model": ("E_ARG_COMMAND", "skillrun model --help"),
    "": ("E_ARG_COMMAND", "skillrun --help"),
    "runs list --limt=3": ("E_ARG_OPTION", "skillrun runs list --limit=3"),
    f"{TRAIN} --trian-data x num_epochs=3": (
        "E_ARG_OPTION",
        "skillrun visual_changenet train --train-data x num_epochs=3",
    ),
    "runs list --nothing-like-it": ("E_ARG_OPTION", "skillrun runs list --help"),
    "runs list -q": ("E_ARG_OPTION", "skillrun runs list --help"),
    "runs show": ("E_ARG_MISSING", "skillrun runs show RUN"),
    "automl export last": ("E_ARG_MISSING", "skillrun automl export last --out DIR"),
    "visual_changenet predict --model x": ("E_ARG_MISSING", "skillrun visual_changenet predict --help"),
    "runs list --limit x": ("E_ARG_VALUE", "skillrun runs list --help"),
    "runs list --limit 0": ("E_ARG_VALUE", "skillrun runs list --help"),
    "skills install --agent nobody": ("E_ARG_VALUE", "skillrun skills install --help"),
    "runs list surplus": ("E_ARG_EXTRA", "skillrun runs list --help"),
    "runs show a b": ("E_ARG_EXTRA", "skillrun runs show --help"),
}


def typed(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    told = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **more}
    return subprocess.run([PROGRAM, *words], stderr=subprocess.PIPE, text=True, timeout=60, check=False, **told)


def error_of(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(result.stdout)
    assert f"error[{told['error']['code']}]: " in result.stderr
    assert "Traceback" not in result.stderr
    return dict(told["error"])


@pytest.mark.parametrize("line", WRONG)
def test_what_can_not_be_read_is_told_with_the_command_that_was_meant(line: str) -> None:
    code, fix = WRONG[line]
    result = typed("--json", *line.split())
    error = error_of(result)
    assert (result.returncode, error["exit_code"], error["code"]) == (2, 2, code)
    assert code in entries()
    words = [word for word in shlex.split(error["fix"]) if word != "--json"]
    assert " ".join(words) == fix
    assert not problem_of(words)
    assert "\n" not in error["message"]


@pytest.mark.parametrize("line", ["runs list --limt=3", "runs shw last", "runs show"])
def test_a_person_reads_two_lines(line: str) -> None:
    result = typed(*line.split())
    first, second = result.stderr.splitlines()
    assert (result.returncode, result.stdout) == (2, "")
    assert first.startswith(f"error[{WRONG[line][0]}]: ")
    assert second == f"  fix: {WRONG[line][1]}"


def test_a_group_alone_shows_its_commands_to_a_person() -> None:
    result = typed("runs")
    assert result.returncode == 2
    assert "Commands:" in result.stderr


@pytest.mark.parametrize(
    "line", ["runs list --json", "runs --json list", "--json runs list", "--json --json runs list"]
)
def test_the_option_may_stand_anywhere_before_the_values(line: str, workspace: Path) -> None:
    assert json.loads(typed(*line.split()).stdout)["runs"] == []


def test_what_follows_two_dashes_is_a_value() -> None:
    result = typed("runs", "show", "--", "--json")
    assert (result.returncode, result.stdout) == (5, "")
    assert "no run '--json'" in result.stderr


@pytest.mark.parametrize("line", ["--version --json", "--json --version"])
def test_the_version_is_a_document_too(line: str) -> None:
    assert set(json.loads(typed(*line.split()).stdout)) == {"schema_version", "version"}


@pytest.mark.parametrize("line", ["--help --json", "--json runs --help", "runs list --json --help"])
def test_help_stays_text(line: str) -> None:
    result = typed(*line.split())
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: skillrun")


@pytest.mark.parametrize("line", ["visual_changenet schema train --json", "explain", "runs show nobody --json"])
def test_a_reader_that_goes_away_is_no_error(line: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = typed(*line.split(), stdout=writing)
    os.close(writing)
    assert result.returncode != 0
    told = [text for text in result.stderr.splitlines() if not text.startswith(("error[E_RUN_NOT_FOUND]", "  fix: "))]
    assert not told


@pytest.mark.parametrize("line", ["explain --json", "explain", "explain E_FILES"])
@pytest.mark.parametrize("where", [">&-", ">/dev/full"])
def test_a_stdout_that_takes_nothing_is_told(line: str, where: str) -> None:
    command = ["sh", "-c", f'exec "$0" {line} {where}', PROGRAM]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1
    first, second = result.stderr.splitlines()
    assert first.startswith("error[E_STDOUT]: ")
    assert second == "  fix: skillrun doctor"


def test_closed_stdin_and_stderr_hinder_nobody(workspace: Path) -> None:
    command = ["sh", "-c", 'exec "$0" runs rm nobody --json <&- 2>&-', PROGRAM]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, json.loads(result.stdout)["error"]["code"]) == (5, "E_RUN_NOT_FOUND")


def test_what_nobody_foresaw_is_one_document_with_its_places() -> None:
    broken = (
        "import sys; sys.argv = ['skillrun', 'explain', '--json']\n"
        "from skillrun import catalogue\n"
        "catalogue.families = lambda: 1 / 0\n"
        "from skillrun.cli.app import run\n"
        "run()\n"
    )
    result = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, check=False)
    error = error_of(result)
    assert (result.returncode, error["code"], error["exit_code"]) == (1, "E_INTERNAL", 1)
    assert "ZeroDivisionError: division by zero" in error["message"]
    assert any("cli/explain.py:" in line for line in error["details"])
    assert not problem_of(shlex.split(error["fix"]))


def test_a_place_that_the_system_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = typed("data", "synth", "--json", "--out", str(tmp_path / "file" / "boards"))
    error = error_of(result)
    assert (result.returncode, error["code"]) == (1, "E_FILES")
    assert str(tmp_path / "file") in error["message"]


def test_ctrl_c_ends_a_wait_with_one_document(workspace: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/w.pth"
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen([PROGRAM, "stage", url, "--json"], **pipes) as process:  # type: ignore[call-overload]
            server.settimeout(60)
            line, _ = server.accept()
            with line:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    error = json.loads(out)["error"]
    assert (error["code"], error["exit_code"]) == ("E_INTERRUPTED", 130)
    assert not problem_of(shlex.split(error["fix"]))


def test_a_folder_that_is_no_bank_is_refused(tmp_path: Path) -> None:
    for action in ("generate", "check"):
        assert error_of(typed("bank", action, "--json", "--root", str(tmp_path)))["code"] == "E_BANK_MISSING"
