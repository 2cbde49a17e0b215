"""The segment data set: which files belong together, what is refused, what an item holds."""

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from visual_changenet.config import ExperimentConfig
from visual_changenet.data.loaders import segment_eval_loader, segment_train_loader
from visual_changenet.data.segment import SegmentDataset, SegmentSplit
from visual_changenet.errors import DataInvalidError, MissingFileError

SIDE = 32
NAMES = ("p 1.png", "q,2.jpg", "r3.JPG", "s.4.jpeg", "ü5.bmp", "sub/t6.png")


def section(root: Path, **changes: Any) -> dict[str, Any]:
    spec = {
        "task": "segment",
        "dataset": {"segment": {"root_dir": str(root), "img_size": SIDE, "workers": 0} | changes},
    }
    found: dict[str, Any] = ExperimentConfig.model_validate(spec).model_dump(mode="json")["dataset"]["segment"]
    return found


def save_pair(root: Path, name: str, seed: int, mask: Any = None) -> None:
    """Golden, test with a white square, and its mask with ending .png."""
    golden = np.random.default_rng(seed).integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    test, classes = golden.copy(), np.zeros((SIDE, SIDE), np.uint8)
    test[8:20, 4:16], classes[8:20, 4:16] = 255, 255
    place = Path(name)
    for folder, picture in (("A", golden), ("B", test)):
        (root / folder / place.parent).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / folder / name)
    (root / "label" / place.parent).mkdir(parents=True, exist_ok=True)
    Image.fromarray(classes if mask is None else mask).save(root / "label" / place.with_suffix(".png"))


def write_list(root: Path, file: str, text: str) -> None:
    (root / "list").mkdir(exist_ok=True)
    (root / "list" / file).write_text(text, encoding="utf-8")


@pytest.fixture
def root(hostile_dir: Path) -> Path:
    for seed, name in enumerate(NAMES):
        save_pair(hostile_dir, name, seed)
    for split in ("train", "val", "test"):
        write_list(hostile_dir, f"{split}.txt", "\n".join(NAMES))
    return hostile_dir


def test_every_ending_finds_its_mask_and_blanks_and_folders_in_names_work(root: Path) -> None:
    items = SegmentDataset(section(root), "test")
    assert items.names == list(NAMES)
    golden, test, mask, row = items[5]
    assert (golden.shape, test.shape, mask.shape, row) == ((3, SIDE, SIDE), (3, SIDE, SIDE), (1, SIDE, SIDE), 5)
    assert (golden.dtype, mask.dtype) == (torch.float32, torch.uint8)
    assert mask.sum() == 12 * 12
    assert bool((test > golden + 0.5)[:, mask[0] == 1].all())
    assert items.notices == []


def test_a_published_mask_name_comes_before_the_stem(root: Path) -> None:
    save_pair(root, "a.jpg.png", 9)
    write_list(root, "test.txt", "a.jpg.png")
    shutil.copy(root / "label" / NAMES[0], root / "label" / "a.png.png")
    assert SegmentDataset(section(root), "test")._masks == [root / "label" / "a.png.png"]


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("test.txt", "p 1.png", ["p 1.png"]),
        ("test.txt", "\ufeffr3.JPG 1\n\n# a comment\ns.4.jpeg 0\n", ["r3.JPG", "s.4.jpeg"]),
        ("test.csv", "image\np 1.png\n", ["p 1.png"]),
        ("test.csv", "id,image,note\n1,r3.JPG,x\n2,sub/t6.png,y\n", ["r3.JPG", "sub/t6.png"]),
        ("test.csv", 'r3.JPG\n"q,2.jpg",1\nq,2.jpg\n', ["r3.JPG", "q,2.jpg", "q,2.jpg"]),
        ("test_all.txt", "r3.JPG\n", ["r3.JPG"]),
    ],
)
def test_lists_of_all_shapes_are_read(root: Path, file: str, text: str, expected: list[str]) -> None:
    (root / "list" / "test.txt").unlink()
    write_list(root, file, text)
    assert SegmentDataset(section(root), "test").names == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("p 1.png\nnone here.png\n", r"test\.txt line 2: .*none here\.png"),
        ("../A/r3.JPG\n", "outside"),
        ("\n\n", "names no image"),
    ],
)
def test_a_wrong_line_is_named(root: Path, text: str, named: str) -> None:
    write_list(root, "test.txt", text)
    with pytest.raises(DataInvalidError, match=named) as caught:
        SegmentDataset(section(root), "test")
    assert caught.value.fix


def test_missing_files_and_folders_are_named(root: Path) -> None:
    (root / "label" / "r3.png").unlink()
    with pytest.raises(DataInvalidError, match=r"line 3: there is no mask .*r3\.png"):
        SegmentDataset(section(root), "test")
    SegmentDataset(section(root), "test", labelled=False)
    (root / "B" / "r3.JPG").unlink()
    with pytest.raises(DataInvalidError, match=r"line 3: there is no image .*r3\.JPG"):
        SegmentDataset(section(root), "test", labelled=False)
    with pytest.raises(MissingFileError, match="val_x"):
        SegmentDataset(section(root, validation_split="val_x"), "validation")
    with pytest.raises(MissingFileError, match="masks"):
        SegmentDataset(section(root, annotation_folder_name="masks"), "test")


def test_predict_needs_no_masks_and_falls_back_to_the_test_list(root: Path) -> None:
    shutil.rmtree(root / "label")
    items = SegmentDataset(section(root), "predict")
    assert len(items.notices) == 1
    assert "'test'" in items.notices[0]
    assert items.pictures(0)[2] is None
    assert bool((items[0][2] == 255).all())
    write_list(root, "predict.txt", NAMES[1])
    items = SegmentDataset(section(root), "predict")
    assert (items.names, items.notices) == ([NAMES[1]], [])


def test_golden_moves_onto_the_test_image_and_the_mask_stays(root: Path) -> None:
    rng = np.random.default_rng(3)
    wide = np.kron(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
    Image.fromarray(wide[8:40, 8:40]).save(root / "A" / NAMES[0])
    Image.fromarray(wide[6:38, 9:41]).save(root / "B" / NAMES[0])
    golden, test, mask = SegmentDataset(section(root, align="translation"), "test").pictures(0)
    np.testing.assert_array_equal(golden[4:-4, 4:-4], test[4:-4, 4:-4])
    np.testing.assert_array_equal(mask, SegmentDataset(section(root), "test").pictures(0)[2])


def test_augmented_items_keep_images_and_mask_together(root: Path) -> None:
    options = {"random_color": {"enable": False}, "with_random_blur": False}
    items = SegmentDataset(section(root, augmentation=options), "train")
    for index in range(len(items)):
        golden, test, mask, _ = items[index]
        changed = (test - golden).abs().mean(0)
        agreed = (changed > 0.3) == (mask[0] == 1)
        assert float(agreed[mask[0] != 255].float().mean()) > 0.93


def test_training_batches_do_not_depend_on_the_number_of_workers(root: Path) -> None:
    seen = {}
    for workers in (0, 2):
        loader = segment_train_loader(section(root, workers=workers, batch_size=2), 5)
        for epoch in (0, 1):
            loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            seen[workers, epoch] = list(loader)
    for epoch in (0, 1):
        for one, other in zip(seen[0, epoch], seen[2, epoch], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(seen[0, 0][0][0], seen[0, 1][0][0])


def test_workers_start_after_opencv_has_run_on_several_threads(root: Path) -> None:
    """A forked copy of OpenCV's thread pool would wait forever; the timeout turns that into an error."""
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((512, 512, 3), np.uint8), (9, 9), 2)
    loader = segment_train_loader(section(root, workers=2, batch_size=2), 5)
    loader.timeout = 30
    assert len(list(loader)) == 3


def test_without_shuffle_pairs_come_as_listed_and_too_few_are_refused(root: Path) -> None:
    loader = segment_train_loader(section(root, shuffle=False, batch_size=3), 5)
    assert [batch[3].tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(DataInvalidError, match="6 rows") as caught:
        segment_train_loader(section(root, batch_size=7), 5)
    assert "at most 6" in caught.value.fix


@pytest.mark.parametrize("split", ["validation", "test", "predict"])
def test_evaluation_shares_every_pair_once(root: Path, split: SegmentSplit) -> None:
    data = section(root, batch_size=4)
    rows = [
        [row for batch in segment_eval_loader(data, split, rank=rank, world=4) for row in batch[3].tolist()]
        for rank in range(4)
    ]
    assert rows == [[0, 4], [1, 5], [2], [3]]
