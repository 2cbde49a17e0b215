"""Names that published examples still use for keys that are spelled otherwise today."""

from __future__ import annotations

import copy
from typing import Any

# old dotted key -> its present keys in the same section; several present keys share out a list.
_SWITCHES = ("random_flip", "random_rotate", "random_color", "with_scale_random_crop")
RENAMED: dict[str, tuple[str, ...]] = {
    "model.decode_head.align_corner": ("align_corners",),
    "dataset.classify.output_shape": ("image_height", "image_width"),
    "dataset.classify.input_height": ("image_height",),
    "dataset.classify.input_width": ("image_width",),
    **{f"dataset.classify.augmentation_config.{name}.enabled": ("enable",) for name in _SWITCHES},
    **{f"dataset.segment.augmentation.{name}.enabled": ("enable",) for name in _SWITCHES},
}


def with_present_names(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec with old names replaced, as a copy where something changed; a present name wins."""
    for old in RENAMED:
        *sections, last = old.split(".")
        if last in _section(spec, sections):
            spec = copy.deepcopy(spec)
            node = _section(spec, sections)
            value = node.pop(last)
            present = RENAMED[old]
            values = [value] if len(present) == 1 else value
            if not isinstance(values, list) or len(values) != len(present):
                raise ValueError(f"{old} needs a list of {len(present)} values for {', '.join(present)}")
            for name, item in zip(present, values, strict=True):
                node.setdefault(name, item)
    return spec


def _section(spec: Any, sections: list[str]) -> dict[str, Any]:
    for name in sections:
        spec = spec.get(name) if isinstance(spec, dict) else None
    return spec if isinstance(spec, dict) else {}
