"""The values of change masks: which class each stands for, and which stand for none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skillrun.data.probe import Probe
from skillrun.data.report import DatasetReport

Colour = tuple[int, ...]

IGNORED = 255
# Of more masks than this an even sample is looked at.
SAMPLE = 500
JPEG_ENDINGS = (".jpg", ".jpeg")
# More colours than this are a photograph, not a mask.
MAX_COLOURS = 4096
# Class colours of the data set LandSCD, from class 0 (no change).
LANDSCD: tuple[Colour, ...] = (
    (255, 255, 255), (255, 165, 0), (230, 30, 100), (70, 140, 0), (218, 112, 214),
    (0, 170, 240), (127, 235, 170), (230, 80, 0), (205, 220, 57), (218, 165, 32),
)  # fmt: skip


@dataclass(frozen=True)
class MaskRule:
    """How mask values become classes.

    Attributes:
        norm: 255 is class 1 and all below class 0 (masks of 0 and 1 are read as they are); else values are classes.
        num_classes: classes are 0 to ``num_classes`` - 1; 255 is ignored.
        colours: RGB of each class for masks in colour; empty for none.
    """

    norm: bool = True
    num_classes: int = 2
    colours: tuple[Colour, ...] = ()


def mask_rule(
    num_classes: int = 2,
    label_transform: str | None = "norm",
    data_name: str = "",
    color_map: Mapping[str, Sequence[int]] | None = None,
) -> MaskRule:
    """The rule of a ``dataset.segment`` section; colour tables count for more than two classes only."""
    colours: tuple[Colour, ...] = ()
    if num_classes > 2 and color_map:
        colours = tuple(tuple(color_map[str(i)]) for i in range(num_classes) if str(i) in color_map)
    elif num_classes > 2 and data_name == "LandSCD":
        colours = LANDSCD[:num_classes]
    return MaskRule(label_transform == "norm", num_classes, colours)


def check_masks(report: DatasetReport, masks: Sequence[Path], probes: Mapping[Path, Probe], rule: MaskRule) -> None:
    """Look at the values of the masks, at most about `SAMPLE` of them; findings go into the report."""
    sample = masks[:: max(1, -(-len(masks) // SAMPLE))]
    seen: set[int] = set()
    for path in sample:
        colours = _colours(path)
        if colours and isinstance(colours[0], tuple):
            seen |= _check_colours(report, path, [c for c in colours if isinstance(c, tuple)], rule)
        elif colours:
            seen |= _check_values(report, path, [c for c in colours if isinstance(c, int)], rule)
        else:
            _report_channels(report, path, f"mode {probes[path].mode}")
    if sample and not (seen - {0, IGNORED}) and not report.counts["E_DATA_MASK_VALUES"]:
        _report_no_change(report, sample, IGNORED in seen, rule)


def _report_no_change(report: DatasetReport, masks: Sequence[Path], ignored: bool, rule: MaskRule) -> None:
    if ignored and rule.num_classes == 2:
        report.error(
            "E_DATA_MASK_VALUES",
            f"The masks hold 0 and 255 (the first is {masks[0]}), and 255 would be ignored.",
            file=masks[0],
            fix="dataset.segment.label_transform=norm",
        )
        return
    report.warn(
        "W_DATA_ONE_CLASS",
        f"No mask of {report.path} marks a change.",
        file=report.path,
        fix="Add pairs with a change",
    )


def _check_values(report: DatasetReport, path: Path, values: list[int], rule: MaskRule) -> set[int]:
    """The classes of a mask with one channel; values that are no class are reported."""
    report.labels.update(str(value) for value in values)
    top, listed = values[-1], ", ".join(str(value) for value in values[:8])
    if rule.norm and top <= 1:
        return set(values)
    if rule.norm and top == 255:
        if path.suffix.lower() in JPEG_ENDINGS and len(values) > 2:
            report.warn(
                "W_DATA_MASK_JPEG",
                f"The mask {path} is a JPEG with {len(values)} levels, which blur every edge; all below 255 is read as "
                "'no change'.",
                file=path,
                fix="Save the masks as PNG with 0 and 255 only, cut at 127",
            )
        elif len(values) > 2 or 0 < values[0] < 255:
            report.warn(
                "W_DATA_MASK_GREY",
                f"The mask {path} holds {listed}; all below 255 is read as 'no change'.",
                file=path,
                fix=f"Save {path} with 0 and 255 only",
            )
        return {value // 255 for value in values}
    if rule.norm:
        report.error(
            "E_DATA_MASK_VALUES",
            f"The mask {path} holds {listed}; label_transform=norm knows 0 and 255, or 0 and 1.",
            file=path,
            fix=f"dataset.segment.label_transform=None dataset.segment.num_classes={top + 1}",
        )
        return set()
    wrong = [value for value in values if rule.num_classes <= value != IGNORED]
    if wrong:
        report.error(
            "E_DATA_MASK_VALUES",
            f"The mask {path} holds {listed}, but there are {rule.num_classes} classes.",
            file=path,
            fix=f"dataset.segment.num_classes={max(wrong) + 1}",
        )
    return set(values)


def _check_colours(report: DatasetReport, path: Path, colours: list[Colour], rule: MaskRule) -> set[int]:
    """The classes of a mask in colour: by the table, or by level where it is grey stored as colour."""
    unknown = [colour for colour in colours if colour not in rule.colours]
    if rule.colours and not unknown:
        classes = {rule.colours.index(colour) for colour in colours}
        report.labels.update(str(value) for value in classes)
        return classes
    if all(red == green == blue for red, green, blue in colours):
        return _check_values(report, path, sorted({colour[0] for colour in colours}), rule)
    if rule.colours:
        report.error(
            "E_DATA_MASK_VALUES",
            f"The mask {path} holds the colour {list(unknown[0])}, which is not in the colour table.",
            file=path,
            fix="Correct the mask, or dataset.segment.color_map",
        )
    else:
        _report_channels(report, path, "colours and there is no table of them")
    return set()


def _report_channels(report: DatasetReport, path: Path, what: str) -> None:
    report.error(
        "E_DATA_MASK_CHANNELS",
        f"The mask {path} has {what}; it needs a single channel of values 0 to 255.",
        file=path,
        fix=f"Save {path} as 8-bit grey, or give dataset.segment.num_classes and color_map",
    )


def _colours(path: Path) -> list[int] | list[Colour]:
    """The different values of a mask, rising: numbers for one channel, RGB for colour; empty for neither."""
    from PIL import Image

    with Image.open(path) as image:
        mode = image.mode
        if mode in ("RGB", "RGBA"):
            found = image.convert("RGB").getcolors(maxcolors=MAX_COLOURS) or []
            return sorted(value for _, value in found if isinstance(value, tuple))
        channel = image.getchannel(0) if mode in ("LA", "PA") else image
        if mode.startswith("I"):
            channel = image.convert("I")
        if channel.mode not in ("L", "P", "1", "I"):
            return []
        found = channel.getcolors(maxcolors=MAX_COLOURS) or []
        values = sorted(value for _, value in found if isinstance(value, int))
    if mode == "1":
        return [value // 255 for value in values]
    return values if values and values[0] >= 0 and values[-1] <= 255 else []
