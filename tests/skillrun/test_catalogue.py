"""Every code that the sources can say has an entry, every entry a source, and what it tells to type can be typed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from skillrun import bank, catalogue
from skillrun.cli import app as command_line
from skillrun.cli.explain import explain as explain_command
from skillrun.errors import NotFoundError
from skillrun.inspection.warnings import outcome_warnings
from skillrun.maintain.catalogue import TEXTS, check_catalogue, page
from skillrun.maintain.generate import generate
from skillrun.maintain.raised import raised

ROOT = bank.bank_root()
ENTRIES = catalogue.entries()
COMMAND = re.compile(r"`(skillrun [^`]+)`")


def test_codes_and_entries_are_the_same() -> None:
    files = generate(ROOT)
    said = [f"{item.key} {item.detail}" for item in check_catalogue(ROOT, files)]
    assert not said, f"edit a file in {TEXTS}, then `skillrun bank generate`:\n" + "\n".join(said)


def test_exit_codes_and_page_are_those_of_the_sources() -> None:
    files = generate(ROOT)
    for path in (Path(catalogue.PAGE), Path("runner/skillrun/catalogue/raised.json")):
        assert (ROOT / path).read_bytes() == files[path], "skillrun bank generate"


@pytest.mark.parametrize("code", ENTRIES)
def test_an_entry_is_short_and_whole(code: str) -> None:
    entry = ENTRIES[code]
    assert 5 < len(entry.title) <= 90 and not entry.title.endswith(".")
    for text in (entry.cause, entry.mend):
        assert 10 < len(text) <= 420 and text.endswith(".") and "\n" not in text
    assert bool(entry.exit_codes) == (entry.severity == "error")


def commands() -> list[str]:
    return sorted({line for entry in ENTRIES.values() for line in COMMAND.findall(f"{entry.cause} {entry.mend}")})


def documented(*pages: str) -> list[str]:
    """Commands in the shell blocks of pages, without the words behind them."""
    texts = [(ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ") for page in pages]
    blocks = [block for text in texts for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)]
    lines = [shlex.join(shlex.split(line, comments=True)) for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("skillrun ")})


PAGES = ("README.md", *(f"docs/{name}.md" for name in ("preflight", "data", "threshold", "report", "card")))


@pytest.mark.parametrize("line", [*commands(), *documented(*PAGES)])
def test_what_is_told_to_type_is_read_by_the_command_line(line: str) -> None:
    command: Any = get_command(_app())
    words, parent = shlex.split(line)[1:], None
    while words and words != ["--help"] and hasattr(command, "commands"):
        assert words[0] in command.commands, f"no command {words[0]!r} in {line!r}"
        parent, command = (
            command.make_context(command.name, [], parent, resilient_parsing=True),
            command.commands[words.pop(0)],
        )
    if "--help" not in words:
        command.make_context(command.name, words, parent, resilient_parsing=False)


def _app() -> typer.Typer:
    app = command_line.build()
    if not any(item.callback is explain_command for item in app.registered_commands):
        app.command("explain")(explain_command)
    return app


def test_a_code_is_found_in_any_case_and_in_a_pasted_line() -> None:
    for text in ("E_DATA_CSV_BOM", "e_data_csv_bom", "error[E_DATA_CSV_BOM]: /x/dataset.csv starts with ...\n  fix: y"):
        assert catalogue.explain(text).code == "E_DATA_CSV_BOM"


@pytest.mark.parametrize(
    ("text", "near"),
    [("E_DATA_CSV_BOMM", "E_DATA_CSV_BOM"), ("DATA_MASK_VALUE", "E_DATA_MASK_VALUES"), ("csv bom", "E_DATA_CSV_BOM")],
)
def test_an_unknown_code_names_the_nearest(text: str, near: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        catalogue.explain(text)
    assert caught.value.code == "E_CODE_UNKNOWN" and near in caught.value.message
    assert caught.value.fix.startswith("skillrun explain ")


def test_explain_tells_what_it_is_and_all_families_without_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    explain_command(["E_DATA_CSV_BOM"])
    said = capsys.readouterr().out
    for word in ("severity   error", "exit code  7", "cause", "mend", "docs/errors.md#e_data_csv_bom"):
        assert word in said
    explain_command(["W_DATA_LEAK"], json=True)
    told = json.loads(capsys.readouterr().out)["explained"]
    assert (told["severity"], told["exit_codes"]) == ("warning", [])
    explain_command(json=True)
    families = json.loads(capsys.readouterr().out)["families"]
    assert sum(row["codes"] for row in families) == len(ENTRIES)


def test_exit_codes_follow_classes_and_functions_that_take_the_code() -> None:
    assert ENTRIES["E_SPEC_BOUNDS"].exit_codes == [2]
    assert ENTRIES["E_DATA_CSV_BOM"].exit_codes == [7]
    assert ENTRIES["E_BACKBONE_INVALID"].raised == {"visual_changenet": [7]}
    assert ENTRIES["E_BACKBONE_INVALID"].exit_codes == [9]
    assert ENTRIES["E_EXPORT_PARITY"].exit_codes == [11]
    assert ENTRIES["E_REMOTE_CACHE"].exit_codes == [3]
    assert ENTRIES["E_HOST_DISK"].exit_codes == [3]


def test_an_installed_bank_without_sources_has_nothing_to_generate(tmp_path: Path) -> None:
    assert raised(tmp_path) == {}
    assert not list(check_catalogue(tmp_path, {}))
    assert "## data" in page(catalogue.families())


GOOD = {"average_precision": 0.9, "auroc": 0.9, "num_samples": 20, "num_defects": 10, "num_passes": 10}
COUNTS = {"true_defects": 9, "false_calls": 1, "escape_rate": 0.1, "overkill_rate": 0.1, "margin": 0.3}
BEST = {"recall_at_overkill_5pct": 0.9, "margin_at_overkill_5pct": 0.2}


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"auroc": 0.31}, ["W_TRAIN_CHANCE"]),
        ({"true_defects": 0, "false_calls": 0, "escape_rate": 1.0, "overkill_rate": 0.0}, ["W_EVAL_ONE_SIDED"]),
        ({"true_defects": 5, "escape_rate": 0.5}, ["W_EVAL_MARGIN"]),
        ({"num_passes": 0, "auroc": 0.0}, []),
    ],
)
def test_an_evaluation_warns_of_chance_and_of_a_margin_that_does_not_fit(
    changes: dict[str, float], codes: list[str]
) -> None:
    found = outcome_warnings({**GOOD, **COUNTS, **BEST, **changes}, "run-1", "classify")
    assert [item.code for item in found] == codes
    assert all(code in ENTRIES and item.fix for code, item in zip(codes, found, strict=True))


def test_a_training_warns_where_it_stayed_at_the_share_of_defects(tmp_path: Path) -> None:
    table = tmp_path / "dataset.csv"
    table.write_text(
        "input_path,golden_path,label,object_name\n" + "a,b,PASS,c\n" * 8 + "a,b,scratch,c\n" * 2, encoding="utf-8"
    )
    assert [item.code for item in outcome_warnings({"best_val_ap": 0.22}, "r", "classify", table)] == ["W_TRAIN_CHANCE"]
    assert not outcome_warnings({"best_val_ap": 0.6}, "r", "classify", table)
    assert not outcome_warnings({"best_val_ap": 0.2}, "r", "classify", tmp_path / "gone.csv")
    assert [item.code for item in outcome_warnings({"best_val_iou_1": 0.0}, "r", "segment")] == ["W_TRAIN_CHANCE"]
