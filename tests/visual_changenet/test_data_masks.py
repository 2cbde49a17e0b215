"""Masks of every way of storing them, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visual_changenet.config import ExperimentConfig
from visual_changenet.data.masks import LANDSCD, MaskRule, load_classes, mask_notices, read_mask
from visual_changenet.errors import DataInvalidError

BINARY = MaskRule(norm=True, num_classes=2)
INDEXED = MaskRule(norm=False, num_classes=3)


def saved(folder: Path, values: Any, mode: str | None = None) -> Path:
    path = folder / "m.png"
    image = Image.fromarray(np.asarray(values, np.uint8))
    (image.convert(mode) if mode else image).save(path)
    return path


def rule(**changes: Any) -> MaskRule:
    spec = {"task": "segment", "dataset": {"segment": changes}}
    return MaskRule.of(ExperimentConfig.model_validate(spec).model_dump(mode="json")["dataset"]["segment"])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "1", "I;16"])
def test_zero_and_255_are_two_classes_however_they_are_stored(hostile_dir: Path, mode: str) -> None:
    path = saved(hostile_dir, [[0, 255], [255, 0]], mode)
    np.testing.assert_array_equal(read_mask(path, BINARY).classes, [[0, 1], [1, 0]])


def test_a_palette_counts_by_index(hostile_dir: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 250])
    image.putdata([2, 1])
    image.save(hostile_dir / "p.png")
    np.testing.assert_array_equal(read_mask(hostile_dir / "p.png", INDEXED).classes, [[2, 1]])


def test_ones_are_not_lost_and_noticed_once(hostile_dir: Path) -> None:
    path = saved(hostile_dir, [[0, 1], [1, 0]])
    assert read_mask(path, BINARY).classes.sum() == 2
    notices = mask_notices([path, path], BINARY)
    assert len(notices) == 1
    assert str(path) in notices[0]


def test_grey_edges_belong_to_class_0_as_published(hostile_dir: Path) -> None:
    path = saved(hostile_dir, [[0, 127, 254, 255]])
    np.testing.assert_array_equal(read_mask(path, BINARY).classes, [[0, 0, 0, 1]])
    assert mask_notices([path], BINARY)


@pytest.mark.parametrize(
    ("values", "how", "found", "fix"),
    [
        ([[0, 2, 3]], BINARY, "0, 2, 3", "label_transform to None and num_classes to 4"),
        ([[0, 3, 255]], INDEXED, "0, 3, 255", "num_classes to 4"),
    ],
)
def test_values_that_are_no_class_are_refused(
    hostile_dir: Path, values: Any, how: MaskRule, found: str, fix: str
) -> None:
    with pytest.raises(DataInvalidError, match=found) as caught:
        read_mask(saved(hostile_dir, values), how)
    assert str(hostile_dir / "m.png") in caught.value.message
    assert fix in caught.value.fix


def test_255_is_ignored_among_class_indices(hostile_dir: Path) -> None:
    np.testing.assert_array_equal(read_mask(saved(hostile_dir, [[0, 2, 255]]), INDEXED).classes, [[0, 2, 255]])


COLOURS = {str(index): list(colour) for index, colour in enumerate(LANDSCD)}


@pytest.mark.parametrize("changes", [{"data_name": "LandSCD"}, {"color_map": COLOURS}])
def test_colours_become_classes(hostile_dir: Path, changes: dict[str, Any]) -> None:
    how = rule(num_classes=10, label_transform="None", **changes)
    path = saved(hostile_dir, [list(LANDSCD), list(reversed(LANDSCD))])
    np.testing.assert_array_equal(read_mask(path, how).classes, [range(10), range(9, -1, -1)])
    with pytest.raises(DataInvalidError, match=r"\[1, 2, 3\]"):
        read_mask(saved(hostile_dir, [[LANDSCD[1], (1, 2, 3)]]), how)


def test_two_classes_have_no_colour_table_and_colour_is_refused(hostile_dir: Path) -> None:
    assert rule(data_name="LandSCD").colours is None
    with pytest.raises(DataInvalidError, match="colour"):
        read_mask(saved(hostile_dir, [[(0, 0, 0), (1, 2, 3)]]), BINARY)


def test_an_unreadable_mask_is_named(hostile_dir: Path) -> None:
    (hostile_dir / "m.png").write_bytes(b"nothing")
    with pytest.raises(DataInvalidError, match=r"m\.png"):
        read_mask(hostile_dir / "m.png", BINARY)


def test_masks_shrink_to_the_nearest_pixel(hostile_dir: Path) -> None:
    path = saved(hostile_dir, np.kron([[0, 255], [255, 0]], np.ones((3, 3))))
    np.testing.assert_array_equal(load_classes(path, BINARY, (2, 2)), [[0, 1], [1, 0]])
