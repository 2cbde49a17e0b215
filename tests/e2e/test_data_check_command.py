"""``skillrun data check`` as a user types it: one folder and several, SARIF, the page, exit codes, fixes that parse."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.main import get_command

from skillrun.cli.app import build
from skillrun.data.synth import synth
from skillrun.findings import Finding

LIMIT = 5_000_000


@pytest.fixture
def boards(workspace: Path) -> Path:
    """A classify data set of train/ and eval/ at a path that is hard to quote."""
    folder = workspace / "my boards, ü"
    synth(folder, pairs=12, size=32, seed=3)
    return folder


@pytest.fixture
def leaky(boards: Path) -> Path:
    """The same with a test picture of train/ in eval/."""
    first, other = (sorted((boards / part / "images" / "test").rglob("*.png"))[0] for part in ("train", "eval"))
    other.write_bytes(first.read_bytes())
    return boards


def codes(document: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in document["findings"]}


def broken(folder: Path) -> Path:
    picture = sorted((folder / "images" / "test").rglob("*.png"))[0]
    picture.unlink()
    return picture


def typed(line: str) -> Any:
    """Read a command as the command line would; a wrong option or a missing argument raises."""
    command: Any = get_command(build())
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    return command.make_context("skillrun", words)


def test_one_folder_and_its_parts_apart_are_compared_alike(skillrun, leaky: Path) -> None:
    whole = skillrun("data", "check", leaky, "--json")
    apart = skillrun("data", "check", leaky / "train", leaky / "eval", "--json")
    assert (whole.returncode, apart.returncode) == (0, 0)
    assert "W_DATA_LEAK" in codes(json.loads(whole.stdout)) & codes(json.loads(apart.stdout))
    assert skillrun("data", "check", leaky / "train", "--json").stdout.find("W_DATA_LEAK") == -1


def test_exit_codes_tell_warnings_errors_and_absence_apart(skillrun, boards: Path, workspace: Path) -> None:
    assert skillrun("data", "check", boards).returncode == 0
    gone = broken(boards / "eval")
    result = skillrun("data", "check", boards)
    assert result.returncode == 7
    assert "E_DATA_IMAGE_MISSING" in result.stdout and gone.name in result.stdout
    assert skillrun("data", "check", boards / "nowhere").returncode == 5
    (workspace / "empty").mkdir()
    nothing = skillrun("data", "check", workspace / "empty")
    assert nothing.returncode == 7 and "E_DATA_LAYOUT" in nothing.stderr
    both = skillrun("data", "check", boards, "--json", "--sarif", "-")
    assert both.returncode == 2 and "E_OPTION_CONFLICT" in both.stderr


def test_sarif_goes_to_stdout_alone_or_to_a_file_beside_the_table(skillrun, boards: Path, workspace: Path) -> None:
    broken(boards / "eval")
    result = skillrun("data", "check", boards, "--sarif", "-")
    assert result.returncode == 7
    (run,) = json.loads(result.stdout)["runs"]
    assert {"E_DATA_IMAGE_MISSING"} <= {one["ruleId"] for one in run["results"]}
    result = skillrun("data", "check", boards, "--sarif", "found.sarif")
    assert "E_DATA_IMAGE_MISSING" in result.stdout
    assert json.loads((workspace / "found.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"
    refused = skillrun("data", "check", boards, "--sarif", "no/folder.sarif")
    assert refused.returncode == 2 and "E_SARIF_FILE" in refused.stderr


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_the_page_is_one_small_file_that_loads_nothing(skillrun, workspace: Path, task: str) -> None:
    folder = workspace / "set"
    synth(folder, task=task, pairs=24, size=32, seed=3)
    result = skillrun("data", "check", folder, "--html", "page ü.html", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["page"] == "page ü.html"
    assert "page ü.html" in result.stderr
    page = (workspace / "page ü.html").read_text(encoding="utf-8")
    assert len(page.encode()) < LIMIT
    assert "http://" not in page and "https://" not in page and "default-src 'none'" in page
    assert "Contact sheet" in page and ("<figcaption>mask</figcaption>" in page) is (task == "segment")


def test_the_page_shows_findings_leaks_and_packed_pictures(skillrun, leaky: Path, workspace: Path) -> None:
    import shutil

    shutil.make_archive(str(leaky / "eval" / "images"), "gztar", leaky / "eval" / "images")
    shutil.rmtree(leaky / "eval" / "images")
    result = skillrun("data", "check", leaky, "--html", "page.html")
    page = (workspace / "page.html").read_text(encoding="utf-8")
    assert result.returncode == 0, result.stderr
    assert "skillrun explain W_DATA_LEAK" in page and "Held out and trained on at once" in page
    leaks = page[page.index('id="leaks"') :].split("</section>")[0]
    assert leaks.count("data:image/jpeg") >= 3 and "can not be read" not in leaks
    assert "Labels in" in page and "32x32" in page


def test_the_page_of_bad_data_says_so_and_the_exit_code_stays(skillrun, boards: Path, workspace: Path) -> None:
    broken(boards / "train")
    assert skillrun("data", "check", boards, "--html", "page.html").returncode == 7
    assert "Not usable yet: 1 error to mend" in (workspace / "page.html").read_text(encoding="utf-8")


def test_names_of_files_and_labels_become_no_markup(skillrun, workspace: Path) -> None:
    root = workspace / "set"
    names = ["<img src=x onerror=alert(1)>", "a\u202egnp", "🙂🙂", "y" * 200, "'\"&"]
    for part in ("golden", "test"):
        (root / "images" / part).mkdir(parents=True)
        for level, name in enumerate(names):
            Image.new("RGB", (20, 20), (40 * level, 90, 30)).save(root / "images" / part / f"{name}.png")
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    rows = [f"test,golden,{name},{name}" for name in quoted] + ["test,golden,PASS,<b>gone</b>"]
    header = "input_path,golden_path,label,object_name\n"
    (root / "dataset.csv").write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
    result = skillrun("data", "check", root, "--html", "page.html")
    assert result.returncode == 7
    page = (workspace / "page.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "<b>gone" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page and "&lt;b&gt;gone" in page
    assert page.count("<script") == page.count("</script>") == 1
    assert '<bdi class="name">a\u202egnp.png</bdi>' in page


@pytest.mark.parametrize("place", ["no/folder/page.html", "."])
def test_a_page_that_can_not_be_written_is_refused_before_the_check(skillrun, boards: Path, place: str) -> None:
    result = skillrun("data", "check", boards, "--html", place)
    assert (result.returncode, result.stdout) == (2, "")
    assert "error[E_PAGE_FILE]" in result.stderr and "--html data.html" in result.stderr


def _findings(document: dict[str, Any]) -> list[Finding]:
    return [Finding(**one) for one in document["findings"]]


def test_commands_and_overrides_among_the_fixes_can_be_typed(skillrun, leaky: Path, workspace: Path) -> None:
    for path in sorted((leaky / "eval" / "images" / "test").rglob("*.png"))[1:]:
        picture = Image.effect_noise((64, 64), 90)
        picture.save(path)
        moved = Image.new("L", (64, 64))
        moved.paste(picture, (6, 0))
        moved.save(leaky / "eval" / "images" / "golden" / path.relative_to(leaky / "eval" / "images" / "test"))
    found = _findings(json.loads(skillrun("data", "check", leaky, "--json").stdout))
    commands = [one for one in found if one.fix.startswith("skillrun ")]
    assert {"W_DATA_LEAK", "W_DATA_SHIFT"} <= {one.code for one in commands}
    for one in commands:
        typed(one.fix)
    shift = next(one.fix for one in commands if one.code == "W_DATA_SHIFT")
    assert skillrun(*shlex.split(shift)[1:]).returncode == 0
    wrong = skillrun("data", "check", leaky, "--image-ext", ".jpg", "--json")
    overrides = {one.fix for one in _findings(json.loads(wrong.stdout)) if one.code == "E_DATA_IMAGE_EXT"}
    assert overrides == {"dataset.classify.image_ext=.png"}
    assert all(re.fullmatch(r"[a-z_.]+=\S+", one) for one in overrides)
