"""All tools, in a fixed order, and the one way to call them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillrun.agent import looking, planning, reading, results, watching
from skillrun.agent.jobs import Call, work
from skillrun.agent.tool import Hints, Tool, cut
from skillrun.errors import NotFoundError
from skillrun.overrides import nearest

_READS = Hints(read_only=True)

TOOLS = (
    Tool("skillrun_read_skills", "Skills", reading.read_skills, _READS, example={"name": "visual-changenet"}),
    Tool(
        "skillrun_get_schema",
        "Part of a spec's schema",
        reading.get_schema,
        _READS,
        example={"action": "train", "path": "train.optim"},
    ),
    Tool("skillrun_check_host", "Check this host", looking.check_host, Hints(read_only=True, open_world=True)),
    Tool(
        "skillrun_check_data", "Check data sets", looking.check_data, _READS, slow=True, example={"paths": ["boards"]}
    ),
    Tool("skillrun_resolve_parent", "Resolve a parent", looking.resolve_parent, _READS, example={"run": "last"}),
    Tool(
        "skillrun_plan_run",
        "Plan a run",
        planning.plan_run,
        Hints(read_only=True, open_world=True),
        slow=True,
        example={"action": "evaluate", "parent": "last", "eval_data": "boards/eval"},
    ),
    Tool(
        planning.LAUNCH,
        "Launch a run",
        planning.launch_run,
        Hints(read_only=False, open_world=True),
        slow=True,
        key="key",
        example={"key": "first", "action": "train", "train_data": "boards/train", "eval_data": "boards/eval"},
    ),
    Tool(
        "skillrun_wait_run",
        "Wait for a run",
        watching.wait_run,
        _READS,
        example={"run": "last", "timeout_s": 50},
        course=watching.course,
    ),
    Tool("skillrun_read_log", "Read a run's output", watching.read_log, _READS),
    Tool("skillrun_get_result", "Result of a run", results.get_result, Hints(read_only=False), slow="report"),
    Tool("skillrun_stop_run", "Stop a run", watching.stop_run, Hints(read_only=False, destructive=True)),
    Tool("skillrun_list_runs", "List runs", watching.list_the_runs, _READS),
)


def tool(name: str) -> Tool:
    """The tool of that name; raises NotFoundError with the nearest one."""
    for one in TOOLS:
        if one.name == name:
            return one
    close = nearest(name, [one.name for one in TOOLS], 1) or [TOOLS[0].name]
    raise NotFoundError("E_TOOL_UNKNOWN", f"there is no tool {cut(name, 80)!r}", f"skillrun tools call {close[0]}")


def call(name: str, arguments: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Call a tool and return its answer as plain values that fit its output schema; it takes less than a minute.

    Args:
        arguments: the fields of its input schema; a field that is null counts as left out.
        root: absolute workspace folder.

    Raises:
        SkillrunError: with code, message, fix and whether the same call may succeed later.
    """
    asked = tool(name)
    given = asked.read(arguments)
    if not asked.is_slow(given):
        return asked.run(given, root).to_json()
    values = given.model_dump(mode="json")
    key = str(values[asked.key]) if asked.key else ""
    return work(Call(name, values, root, key))
