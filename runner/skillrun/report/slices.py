"""The same rates for parts of the pairs: by defect type, object, board, light, or whatever column a CSV adds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from skillrun.inspection import Outcome, Rate

SMALL = 30
SHOWN = 12
TITLES = {"label": "Defect type", "object_name": "Object", "input_path": "Board", "golden_path": "Golden"}


def slices(pairs: Sequence[Outcome], margin: float) -> list[dict[str, Any]]:
    """One entry a column that groups the pairs.

    A column with one group, or with nearly as many groups as pairs, tells nothing and is left out; ``golden_path``
    too where it only repeats ``input_path``. Groups with the most wrong decisions first; ``small`` below `SMALL` pairs.
    """
    columns = list(pairs[0].cells) if pairs else []
    found = []
    for column in dict.fromkeys(["label", "object_name", "input_path", *columns]):
        groups: dict[str, list[Outcome]] = defaultdict(list)
        for pair in pairs:
            groups[pair.label if column == "label" else pair.cells.get(column, "")].append(pair)
        if column == "golden_path" or not 1 < len(groups) <= max(2, len(pairs) // 2):
            continue
        found.append(_entry(column, groups, margin))
    return found


def _entry(column: str, groups: Mapping[str, Sequence[Outcome]], margin: float) -> dict[str, Any]:
    told = [_group(name, pairs, margin) for name, pairs in groups.items()]
    told.sort(key=lambda group: (-group["wrong"], -group["pairs"], group["name"]))
    title = TITLES.get(column, column.replace("_", " ").capitalize())
    return {"by": column, "title": title, "groups": told[:SHOWN], "left_out": max(0, len(told) - SHOWN)}


def _group(name: str, pairs: Sequence[Outcome], margin: float) -> dict[str, Any]:
    defects = [pair for pair in pairs if pair.defect]
    good = [pair for pair in pairs if not pair.defect]
    escapes = Rate(sum(pair.score <= margin for pair in defects), len(defects))
    overkill = Rate(sum(pair.score > margin for pair in good), len(good))
    return {
        "name": name,
        "pairs": len(pairs),
        "wrong": escapes.count + overkill.count,
        "escape": escapes.to_json() if defects else None,
        "overkill": overkill.to_json() if good else None,
        "small": len(pairs) < SMALL,
    }
