"""Rules of the spec that its schema does not state: sizes that the network takes, devices, margins."""

from __future__ import annotations

from collections.abc import Iterator

from skillrun.preflight.rule import Case, Problem, rule
from skillrun.weights import BACKBONES

TYPE = "model.backbone.type"
# Sides in pixels that a network takes are multiples of these: the stride of its last map, the patch of its embedding,
# or with several golden images a whole number of attention cells.
STRIDES = {"FAN": 16, "C-RADIO": 32, "NV-DINOv2": 32}
EMBEDDING_PATCHES = {"C-RADIO": 16, "NV-DINOv2": 14}
ATTENTION_CELL = 7
READS_PICTURES = ("train", "evaluate", "inference", "export", "quantize")


@rule("E_MODEL_SIZE", "spec", "The network does not take images of this size", waivable=False)
def image_size(case: Case) -> Iterator[Problem]:
    """All lights joined have sides that are multiples of the network's, and equal sides except for FAN."""
    family = _family(case)
    if case.section not in READS_PICTURES or family not in STRIDES:
        return
    multiple, height, width = _multiple(case, family), *_input_size(case)
    square = family != "FAN"
    if not (height and width) or (not height % multiple and not width % multiple and (height == width or not square)):
        return
    sides = f"multiples of {multiple}{' and equal' if square else ''}"
    yield Problem(
        f"the network input is {height} x {width} pixels (height x width), but {case.get(TYPE)} needs sides that are "
        f"{sides}",
        _fitting_size(case, multiple, square),
    )


def _family(case: Case) -> str:
    wanted = BACKBONES.get(str(case.get(TYPE)))
    return wanted.family if wanted else ""


def _multiple(case: Case, family: str) -> int:
    if family != "FAN" and case.plan.task == "classify":
        if case.get("model.classify.difference_module") == "euclidean":
            return EMBEDDING_PATCHES[family]
        if int(case.get("dataset.classify.num_golden") or 1) > 1:
            return STRIDES[family] * ATTENTION_CELL
    return STRIDES[family]


def _joined(case: Case) -> tuple[int, int]:
    """(rows, columns) of images that are joined to one input."""
    lights = int(case.get("dataset.classify.num_input") or 1)
    if case.get("dataset.classify.concat_type") == "grid" and lights % 2 == 0:
        grid = case.get("dataset.classify.grid_map") or {}
        return int(grid.get("y") or 1), int(grid.get("x") or 1)
    return lights, 1


def _input_size(case: Case) -> tuple[int, int]:
    """(height, width) in pixels of all lights joined."""
    if case.plan.task == "segment":
        side = int(case.get("dataset.segment.img_size") or 0)
        return side, side
    rows, columns = _joined(case)
    height, width = (int(case.get(f"dataset.classify.image_{side}") or 0) for side in ("height", "width"))
    return rows * height, columns * width


def _fitting_size(case: Case, multiple: int, square: bool) -> str:
    """Overrides with the nearest size that fits and loses no detail."""
    if case.plan.task == "segment":
        return f"dataset.segment.img_size={_up(_input_size(case)[0], multiple)}"
    rows, columns = _joined(case)
    height, width = (_up(side, multiple) for side in _input_size(case))
    if square:
        height = width = max(height, width)
        while height % rows or width % columns:
            height = width = height + multiple
    while height % rows:
        height += multiple
    while width % columns:
        width += multiple
    wanted = {"height": height // rows, "width": width // columns}
    changed = {side: value for side, value in wanted.items() if value != case.get(f"dataset.classify.image_{side}")}
    return " ".join(f"dataset.classify.image_{side}={value}" for side, value in changed.items())


def _up(side: int, multiple: int) -> int:
    return max(1, -(-side // multiple)) * multiple


@rule("E_SPEC_DEVICE", "spec", "A GPU is asked for in the spec, but the run gets none", waivable=False, safe=True)
def device(case: Case) -> Iterator[Problem]:
    """``<action>.device=gpu`` needs one."""
    key = f"{case.section}.device"
    if case.get(key) == "gpu" and case.plan.gpus == "none":
        yield Problem(f"{key}=gpu, but the run gets no GPU (no driver answers here, or --gpus none)", f"{key}=auto")


@rule("W_SPEC_PRECISION", "spec", "Half precision on a CPU", safe=True)
def precision(case: Case) -> Iterator[Problem]:
    """float16 does not exist on CPUs, bfloat16 is slow on most."""
    wanted = case.get("train.precision")
    on_cpu = case.plan.gpus == "none" or case.get("train.device") == "cpu"
    if case.section == "train" and on_cpu and wanted not in (None, "32-true"):
        what = "is computed in bfloat16 there" if wanted == "16-mixed" else "is slower there than float32 on most"
        yield Problem(f"train.precision={wanted} on a CPU {what}", "train.precision=32-true")


@rule("W_SPEC_MARGIN", "spec", "A margin at which nothing passes, or everything does")
def margin(case: Case) -> Iterator[Problem]:
    """A pair passes where its score is at most the margin."""
    value = case.get("model.classify.eval_margin")
    if case.plan.task != "classify" or value is None:
        return
    module, trained = case.get("model.classify.difference_module"), case.get("model.classify.train_margin_euclid")
    middle = "0.3" if module == "learnable" else f"{float(trained or 2) / 2:g}"
    if value <= 0:
        yield Problem(
            f"model.classify.eval_margin={value}: no pair with a difference at all would pass",
            f"model.classify.eval_margin={middle}",
        )
    elif module == "euclidean" and trained is not None and value >= trained:
        yield Problem(
            f"model.classify.eval_margin={value} is not below train_margin_euclid={trained}, the distance to which "
            "defects are pushed: most would pass",
            f"model.classify.eval_margin={middle}",
        )
