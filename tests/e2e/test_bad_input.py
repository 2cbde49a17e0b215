"""Bad input: one line with code and place, one with the fix, the designed exit code, and nothing written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from skillrun.data.synth import synth

BASE = ("visual_changenet", "train", "--no-automl", "model.backbone.type=fan_tiny_8_p4_hybrid")
SMALL = ("dataset.classify.image_width=64", "dataset.classify.image_height=64", "num_epochs=1", "batch_size=4")


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards") / "set"
    synth(folder, pairs=12, size=32, seed=3)
    return folder


@pytest.fixture
def data(boards: Path, workspace: Path) -> Path:
    return Path(shutil.copytree(boards, workspace / "my boards, ü"))


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def refused(result: object, code: str, exit_code: int, *words: str) -> None:
    returncode, stdout, stderr = result.returncode, result.stdout, result.stderr  # type: ignore[attr-defined]
    assert returncode == exit_code, stderr
    lines = [line for line in stderr.splitlines() if line.strip()]
    assert lines[0].startswith(f"error[{code}]: "), stderr
    assert len(lines) == 2, stderr
    assert lines[1].startswith("  fix: "), stderr
    for word in words:
        assert word in stderr, stderr
    assert stdout == ""


SPEC_CASES = {
    "unknown key": ("train.num_epohcs=3", "E_SPEC_UNKNOWN_KEY", "train.num_epochs"),
    "wrong type": ("train.optim.lr=banana", "E_SPEC_TYPE", "number"),
    "out of bounds": ("num_epochs=0", "E_SPEC_BOUNDS", "num_epochs"),
    "enum typo": ("train.optim.optim=adanw", "E_SPEC_ENUM", "train.optim.optim=adamw"),
    "no equals sign": ("num_epochs", "E_ARG_OVERRIDE", "key=value"),
}


@pytest.mark.parametrize(("override", "code", "word"), SPEC_CASES.values(), ids=SPEC_CASES.keys())
def test_a_bad_override_is_refused(skillrun, workspace: Path, data: Path, override: str, code: str, word: str) -> None:
    before = files_of(workspace)
    result = skillrun(*BASE, "--train-data", data / "train", "--eval-data", data / "eval", override)
    refused(result, code, 2, word)
    assert files_of(workspace) == before


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("train:\n  seed: !!python/object/apply:os.getpid []\n", "E_SPEC_TAG"),
        ("train:\n  seed: ${eval:'1'}\n", "E_SPEC_REFERENCE"),
        ("train:\n  num_epohcs: 3\n", "E_SPEC_UNKNOWN_KEY"),
    ],
)
def test_a_hostile_spec_file_is_refused(skillrun, workspace: Path, data: Path, text: str, code: str) -> None:
    spec = workspace / "bad spec.yaml"
    spec.write_text(text, encoding="utf-8")
    before = files_of(workspace)
    result = skillrun(*BASE, "--spec", spec, "--train-data", data / "train", "--eval-data", data / "eval")
    refused(result, code, 2, "bad spec.yaml")
    assert files_of(workspace) == before


def _drop_column(csv: Path, images: Path) -> None:
    csv.write_text(csv.read_text().replace("label", "verdict", 1), encoding="utf-8")


def _add_bom(csv: Path, images: Path) -> None:
    csv.write_bytes(b"\xef\xbb\xbf" + csv.read_bytes())


def _semicolons(csv: Path, images: Path) -> None:
    csv.write_text(csv.read_text().replace(",", ";"), encoding="utf-8")


def _empty(csv: Path, images: Path) -> None:
    csv.write_text(csv.read_text().splitlines()[0] + "\n", encoding="utf-8")


def _first_image(csv: Path, images: Path) -> Path:
    folder, _, _, name = csv.read_text(encoding="utf-8").splitlines()[1].split(",")[:4]
    return images / folder / f"{name}.png"


def _remove_image(csv: Path, images: Path) -> None:
    _first_image(csv, images).unlink()


def _break_image(csv: Path, images: Path) -> None:
    _first_image(csv, images).write_bytes(b"no picture at all")


def _cut_image(csv: Path, images: Path) -> None:
    path = _first_image(csv, images)
    path.write_bytes(path.read_bytes()[:-40])


DATA_CASES = {
    "missing column": (_drop_column, "E_DATA_CSV_COLUMNS", "label"),
    "byte order mark": (_add_bom, "E_DATA_CSV_BOM", "dataset.csv"),
    "semicolons": (_semicolons, "E_DATA_CSV_DELIMITER", "semicolons"),
    "empty": (_empty, "E_DATA_EMPTY", "dataset.csv"),
    "missing image": (_remove_image, "E_DATA_IMAGE_MISSING", "line 2"),
    "unreadable image": (_break_image, "E_DATA_IMAGE_UNREADABLE", ".png"),
    "truncated image": (_cut_image, "E_DATA_IMAGE_UNREADABLE", ".png"),
}


@pytest.mark.parametrize(("damage", "code", "word"), DATA_CASES.values(), ids=DATA_CASES.keys())
def test_a_damaged_data_set_is_refused(skillrun, workspace: Path, data: Path, damage, code: str, word: str) -> None:
    damage(data / "train" / "dataset.csv", data / "train" / "images")
    before = files_of(workspace)
    result = skillrun(*BASE, *SMALL, "--train-data", data / "train", "--eval-data", data / "eval")
    refused(result, code, 7, word)
    assert files_of(workspace) == before


def test_a_wrong_extension_is_refused_with_the_right_one(skillrun, workspace: Path, data: Path) -> None:
    before = files_of(workspace)
    result = skillrun(
        *BASE, *SMALL, "--train-data", data / "train", "--eval-data", data / "eval", "dataset.classify.image_ext=.jpg"
    )
    refused(result, "E_DATA_IMAGE_EXT", 7, "dataset.classify.image_ext=.png")
    assert files_of(workspace) == before


def test_a_results_folder_that_can_not_be_written_is_refused(skillrun, workspace: Path, data: Path) -> None:
    blocked = Path("/proc/skillrun") if os.geteuid() == 0 else workspace / "blocked"
    if os.geteuid() != 0:
        blocked.mkdir(mode=0o555)
    before = files_of(workspace)
    result = skillrun(*BASE, *SMALL, "--train-data", data / "train", "--eval-data", data / "eval", "--results", blocked)
    refused(result, "E_RESULTS_NOT_WRITABLE", 2, blocked.name)
    assert files_of(workspace) == before


def test_a_results_folder_that_is_a_file_is_refused(skillrun, workspace: Path, data: Path) -> None:
    (workspace / "file").touch()
    result = skillrun(
        *BASE, "--train-data", data / "train", "--eval-data", data / "eval", "--results", workspace / "file" / "x"
    )
    refused(result, "E_RESULTS_NOT_A_FOLDER", 2)


def test_missing_data_and_checkpoint_say_which_flag_gives_them(skillrun, data: Path) -> None:
    refused(skillrun(*BASE), "E_SPEC_REQUIRED", 2, "--train-data")
    result = skillrun("visual_changenet", "evaluate", "--eval-data", data / "eval")
    refused(result, "E_SPEC_REQUIRED", 2, "--parent")


def test_a_data_folder_without_a_csv_names_the_folders_that_have_one(skillrun, data: Path) -> None:
    refused(skillrun(*BASE, "--train-data", data, "--eval-data", data), "E_DATA_SOURCE", 7, "train")


def test_an_unknown_run_is_not_found(skillrun) -> None:
    refused(skillrun("runs", "show", "nothing"), "E_RUN_NOT_FOUND", 5)
    refused(skillrun("visual_changenet", "evaluate", "--parent", "nothing"), "E_RUN_NOT_FOUND", 5)


def test_a_search_with_a_range_outside_the_schema_is_refused(skillrun, workspace: Path, data: Path) -> None:
    sets = ("--train-data", data / "train", "--eval-data", data / "eval")
    result = skillrun(
        *("visual_changenet", "train", *BASE[3:], *SMALL, *sets), "--search", "train.optim.lr=-1..1", "--trials", "2"
    )
    refused(result, "E_SEARCH_RANGE", 2, "train.optim.lr")
    assert not (workspace / "studies").exists()


def test_with_json_the_error_is_one_document_on_stdout(skillrun, data: Path) -> None:
    result = skillrun(*BASE, "--train-data", data / "train", "--eval-data", data / "eval", "num_epochs=0", "--json")
    error = json.loads(result.stdout)["error"]
    assert (error["code"], error["exit_code"], result.returncode) == ("E_SPEC_BOUNDS", 2, 2)
    assert error["fix"]
    assert "\x1b" not in result.stdout + result.stderr
