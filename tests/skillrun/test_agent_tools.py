"""The agent's tools: their schemas in three dialects, and every tool answering and refusing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from skillrun.agent.dialects import Dialect, tell
from skillrun.agent.tools import TOOLS, call
from skillrun.cli.tools import tools
from skillrun.data.synth import synth
from skillrun.errors import ConflictError, NotFoundError, SkillrunError, UsageError
from skillrun.skills.read import find_skill

DIALECTS: tuple[Dialect, ...] = ("mcp", "openai", "anthropic")
TOKENS = 6000
OUTPUTS = {tool["name"]: tool["outputSchema"] for tool in tell(TOOLS, "mcp")}

app = typer.Typer()
app.command()(tools)


@pytest.fixture
def boards(hostile_dir: Path) -> Path:
    """Twelve drawn pairs in train/ and eval/."""
    synth(hostile_dir / "boards", task="classify", pairs=12, seed=1, size=32, force=False)
    return hostile_dir / "boards"


def ask(root: Path, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """An answer, which fits its output schema and is small."""
    answer = call(f"skillrun_{tool}", arguments, root)
    Draft202012Validator(OUTPUTS[f"skillrun_{tool}"]).validate(answer)
    assert len(json.dumps(answer)) < 12_000
    return answer


def objects(node: Any) -> list[dict[str, Any]]:
    """All object schemas in a schema."""
    inside = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = [node] if isinstance(node, dict) and "object" in str(node.get("type")) and "properties" in node else []
    return own + [found for child in inside for found in objects(child)]


def inputs(dialect: Dialect) -> dict[str, dict[str, Any]]:
    told = tell(TOOLS, dialect)
    if dialect == "mcp":
        return {tool["name"]: tool["inputSchema"] for tool in told}
    if dialect == "openai":
        return {tool["function"]["name"]: tool["function"]["parameters"] for tool in told}
    return {tool["name"]: tool["input_schema"] for tool in told}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_twelve_tools_at_most_in_six_thousand_tokens(dialect: Dialect) -> None:
    printed = CliRunner().invoke(app, ["--format", dialect]).stdout
    assert json.loads(printed) == tell(TOOLS, dialect)
    assert len(TOOLS) <= 12 and len(printed) / 4 <= TOKENS


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_list_of_tools_has_the_same_bytes_every_time(dialect: Dialect) -> None:
    assert len({CliRunner().invoke(app, ["--format", dialect]).stdout for _ in range(10)}) == 1


@pytest.mark.parametrize("dialect", DIALECTS)
def test_input_schemas_are_closed_flat_objects(dialect: Dialect) -> None:
    for name, schema in inputs(dialect).items():
        Draft202012Validator.check_schema(schema)
        assert re.fullmatch(r"skillrun_[a-z]+_[a-z]+", name)
        assert schema["type"] == "object" and not {"anyOf", "oneOf", "$ref", "$defs"} & set(schema)
        assert all(found["additionalProperties"] is False for found in objects(schema))
        assert len(schema.get("properties", {})) <= 20


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_strict_schemas_require_every_field_and_let_null_stand_for_left_out(dialect: Dialect) -> None:
    loose = inputs("mcp")
    for name, schema in inputs(dialect).items():
        assert schema["required"] == list(schema["properties"])
        for field, node in schema["properties"].items():
            assert not {"default", "minimum", "maximum", "minLength"} & set(node)
            assert ("null" in node["type"]) == (field not in loose[name].get("required", ()))
            assert "enum" not in node or "null" not in node["type"] or None in node["enum"]


def test_every_tool_says_all_four_hints_and_what_it_is_for() -> None:
    for tool in tell(TOOLS, "mcp"):
        assert set(tool["annotations"]) == {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
        assert 40 < len(tool["description"]) < 500
        Draft202012Validator.check_schema(tool["outputSchema"])


def test_examples_fit_their_schemas() -> None:
    for tool in tell(TOOLS, "anthropic"):
        for example in tool.get("input_examples", ()):
            Draft202012Validator(tool["input_schema"]).validate(example)


def test_every_example_is_read_as_it_stands() -> None:
    for tool in TOOLS:
        tool.read(tool.example or {name: "last" for name in ("run",) if name in tool.given.model_fields})


def test_a_part_of_a_schema_comes_with_types_defaults_and_bounds(workspace: Path) -> None:
    found = ask(workspace, "get_schema", action="train", path="train.optim")
    keys = {key["key"]: key for key in found["keys"]}
    lr = keys["train.optim.lr"]
    assert lr["description"] and (lr["type"], lr["default"], lr["minimum"], lr["short"]) == (
        "number",
        1e-05,
        0.0,
        "learning_rate",
    )
    assert keys["train.optim.policy"]["choices"] == ["linear", "step"]
    top = ask(workspace, "get_schema", action="train", path=None, depth=None)
    assert {section["path"] for section in top["sections"]} >= {"train", "dataset", "model"}
    assert [key["key"] for key in ask(workspace, "get_schema", action="train", path="num_epochs")["keys"]]


def test_pages_of_a_schema_hold_every_key_once(workspace: Path) -> None:
    seen: list[str] = []
    cursor: int | None = 0
    while cursor is not None:
        page = ask(workspace, "get_schema", action="train", path="dataset", depth=4, cursor=cursor)
        seen += [key["key"] for key in page["keys"]]
        cursor = page.get("next_cursor")
    assert len(seen) == len(set(seen)) > 30


def test_a_mistyped_path_names_the_nearest(workspace: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        ask(workspace, "get_schema", action="train", path="train.optm")
    assert (caught.value.code, caught.value.fix) == ("E_TOOL_NO_KEY", "path=train.optim")


def test_a_skill_is_read_in_one_page_and_a_long_reference_in_several(workspace: Path) -> None:
    for skill in ask(workspace, "read_skills")["skills"]:
        page = ask(workspace, "read_skills", name=skill["name"])
        assert "next_cursor" not in page and f"name: {skill['name']}" in page["text"]
    name, file = "visual-changenet", "references/parameters.md"
    text, pages, cursor = "", 0, 0
    while cursor is not None:
        page = ask(workspace, "read_skills", name=name, file=file, cursor=cursor)
        text, pages, cursor = text + page["text"], pages + 1, page.get("next_cursor")
    assert pages > 1 and text == (find_skill(name).folder / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("file", ["../../pyproject.toml", "/etc/passwd", "references/../SKILL.md", "SKILL"])
def test_only_files_of_the_skill_are_read(file: str, workspace: Path) -> None:
    listed = ask(workspace, "read_skills")["skills"]
    with pytest.raises(NotFoundError) as caught:
        ask(workspace, "read_skills", name=listed[0]["name"], file=file)
    assert caught.value.code == "E_TOOL_NO_FILE" and caught.value.fix.startswith("file=")


def test_the_host_is_told_in_few_lines(workspace: Path) -> None:
    found = ask(workspace, "check_host")
    assert found["checks"][-1]["name"] == "runs" and "ok" in found["summary"]


def test_a_data_set_is_told_by_counts_and_first_findings(boards: Path, workspace: Path) -> None:
    good = ask(workspace, "check_data", paths=[str(boards)])
    assert good["ok"] and good["rows"] == 12 and [part["name"] for part in good["parts"]] == ["eval", "train"]
    for picture in (boards / "train" / "images").rglob("*.*"):
        picture.write_bytes(b"no picture")
    bad = ask(workspace, "check_data", paths=[str(boards)])
    assert not bad["ok"] and len(bad["findings"]) <= 8 and sum(bad["totals"].values()) >= len(bad["findings"])
    assert all(found["code"] and found["message"] for found in bad["findings"])


def test_a_plan_has_a_hash_that_follows_what_would_run_and_nothing_else(boards: Path, workspace: Path) -> None:
    fields = {"action": "train", "train_data": str(boards / "train"), "eval_data": str(boards / "eval")}
    quick = ["pretrained_backbone=", "batch_size=4", "dataset.classify.workers=0"]
    first, second, other = (
        ask(workspace, "plan_run", **fields, overrides=[*quick, *more]) for more in ([], [], ["num_epochs=3"])
    )
    assert first["ok"], first["findings"]
    assert first["plan_hash"] == second["plan_hash"] != other["plan_hash"]
    assert other["set"]["train.num_epochs"] == 3
    assert not (workspace / "runs").exists()


def test_a_plan_with_an_error_has_no_hash_and_says_what_mends_it(boards: Path, workspace: Path) -> None:
    told = ask(workspace, "plan_run", action="train", train_data=str(boards / "train"), overrides=["num_epohcs=1"])
    assert not told["ok"] and "plan_hash" not in told
    assert told["findings"][0]["code"] == "E_SPEC_UNKNOWN_KEY" and told["findings"][0]["fix"]


def test_what_is_demanded_must_be_what_is_planned(boards: Path, workspace: Path) -> None:
    fields = {"action": "train", "train_data": str(boards / "train"), "eval_data": str(boards / "eval")}
    with pytest.raises(ConflictError) as caught:
        ask(workspace, "launch_run", **fields, overrides=["pretrained_backbone="], key="a", plan_hash="0" * 64)
    assert caught.value.code == "E_PLAN_CHANGED"
    assert not (workspace / "runs").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("wait_run", {"run": "last"}, "E_RUN_NOT_FOUND"),
        ("wait_run", {"run": "last", "timeout_s": 51}, "E_TOOL_ARGUMENTS"),
        ("wait_run", {"runn": "last"}, "E_TOOL_ARGUMENTS"),
        ("read_log", {"run": "last"}, "E_RUN_NOT_FOUND"),
        ("get_result", {"run": "last"}, "E_RUN_NOT_FOUND"),
        ("stop_run", {"run": "no such"}, "E_RUN_NOT_FOUND"),
        ("list_runs", {"limit": 0}, "E_TOOL_ARGUMENTS"),
        ("resolve_parent", {"run": "last"}, ""),
        ("get_schema", {"action": "trian"}, "E_ACTION_UNKNOWN"),
        ("check_data", {"paths": ["nowhere"]}, "E_DATA_NOT_FOUND"),
        ("read_skills", {"name": "no such skill"}, "E_SKILL_UNKNOWN"),
        ("check_data", {"paths": []}, "E_TOOL_ARGUMENTS"),
        ("launch_run", {"action": "train"}, "E_TOOL_ARGUMENTS"),
        ("launch_run", {"action": "train", "key": "x", "train_data": "nowhere"}, ""),
        ("check_host", {"all": True}, "E_TOOL_ARGUMENTS"),
        ("nothing", {}, "E_TOOL_UNKNOWN"),
    ],
)
def test_a_refusal_has_code_message_and_fix(name: str, arguments: dict[str, Any], code: str, workspace: Path) -> None:
    with pytest.raises(SkillrunError) as caught:
        call(f"skillrun_{name}", arguments, workspace)
    told = caught.value.to_json()
    assert told["code"] == code or not code
    assert told["message"] and told["fix"] and len(json.dumps(told)) < 3000


def test_a_misspelled_field_names_the_right_one(workspace: Path) -> None:
    with pytest.raises(UsageError) as caught:
        call("skillrun_plan_run", {"action": "train", "train_dta": "x"}, workspace)
    assert "did you mean train_data?" in caught.value.message


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["skillrun_list_runs", "{"], 2),
        (["skillrun_list_runs", "{}", "{}"], 2),
        ([], 2),
        (["skillrun_list_runs", "[]"], 2),
        (["skillrun_list_runs", "[" * 100_000], 2),
        (["skillrun_wait_run", '{"run": "last"}'], 5),
        (["skillrun_list_runs"], 0),
        (["skillrun_get_schema", '{"action": "evaluate", "path": null}', "--json"], 0),
    ],
)
def test_a_script_gets_one_document_whatever_happens(words: list[str], code: int, workspace: Path) -> None:
    ended = CliRunner().invoke(app, ["call", *words, "--workspace", str(workspace)])
    told = json.loads(ended.stdout)
    assert ended.exit_code == code and ("error" in told) == bool(code)
    assert not code or ended.stderr.startswith("error[")


def test_an_unknown_dialect_names_those_that_are_there() -> None:
    ended = CliRunner().invoke(app, ["--format", "soap"])
    assert isinstance(ended.exception, UsageError) and ended.exception.code == "E_TOOL_FORMAT"
