"""The size of the network's input: what the lights of one object make together."""

from __future__ import annotations

from typing import Any

from visual_changenet.errors import SpecError


def classify_input_size(data: dict[str, Any]) -> tuple[int, int]:
    """(height, width) in pixels of the classify network's input, from the ``dataset.classify`` section.

    linear stacks the lights vertically; grid lays them out in ``grid_map.y`` rows of ``grid_map.x``.

    Raises:
        SpecError: ``E_SPEC_GRID`` where x * y is not num_input.
    """
    height, width, count = data["image_height"], data["image_width"], data["num_input"]
    if data.get("concat_type") != "grid" or count == 1:
        return height * count, width
    columns, rows = data["grid_map"]["x"], data["grid_map"]["y"]
    if columns * rows != count:
        raise SpecError(
            "E_SPEC_GRID",
            f"dataset.classify.grid_map is {columns} x {rows}, but num_input is {count}.",
            "choose grid_map so that x * y equals num_input",
        )
    return rows * height, columns * width
