"""``dataset``: where the pairs are, how they become network input, and how they are sampled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from visual_changenet.config.augmentation import ClassifyAugmentation, SegmentAugmentation
from visual_changenet.config.field import Float, Int, OptionalText, Section, section, setting

Alignment = Literal["none", "translation", "ecc"]
ALIGN_MEANING = (
    "Register each pair as it is loaded: none, translation (whole pixels, at most 4) or ecc (also a small "
    "rotation and sub-pixel shift)."
)
CACHE_MEANING = "Folder for decoded and resized images, shared between runs; empty keeps them in memory only."


class PairTable(Section):
    csv_path: OptionalText = setting(
        "",
        "CSV file with the columns input_path, golden_path, label, object_name.",
        path=("file", "in"),
    )
    images_dir: OptionalText = setting(
        "", "Folder that input_path and golden_path of the CSV are relative to.", path=("dir", "in")
    )


class CalibrationImages(Section):
    images_dir: OptionalText = setting(
        "", "Folder with images for the calibration of a static quantization.", path=("dir", "in")
    )


class ClassifyDataset(Section):
    train_dataset: PairTable = section(PairTable, "Pairs to train on, as a CSV file and an image folder.")
    validation_dataset: PairTable = section(PairTable, "Pairs for validation during training.")
    test_dataset: PairTable = section(PairTable, "Labelled pairs for the action evaluate.")
    infer_dataset: PairTable = section(PairTable, "Pairs for the action inference; labels are not read.")
    quant_calibration_dataset: CalibrationImages = section(
        CalibrationImages, "Images for the calibration of a static quantization."
    )
    image_ext: str = setting(".jpg", "Ending that is added to object_name to find an image file.")
    batch_size: Int = setting(8, "Pairs per step and device; training needs at least 2.", low=1)
    workers: Int = setting(1, "Processes that load pairs; 0 loads in the main process.", low=0)
    fpratio_sampling: Float = setting(
        0.1,
        "Share of NO_PASS against PASS draws in training, 1 draws both equally often.",
        low=0.0,
        high=1.0,
        automl=True,
        search={"low": 0.05, "high": 1.0},
    )
    num_input: Int = setting(
        4, "Number of images (lights) per side; must equal the number of entries of input_map.", low=1
    )
    input_map: dict[str, Int] | None = setting(
        {"LowAngleLight": 0, "SolderLight": 1, "UniformLight": 2, "WhiteLight": 3},
        "Lights in the order they are joined, name -> position; null for one image without light suffix.",
        low=0,
        automl=False,
    )
    concat_type: Literal["linear", "grid"] = setting(
        "linear", "How the images of the lights are joined: below each other, or in a grid of grid_map."
    )
    grid_map: dict[str, Int] = setting(
        {"x": 2, "y": 2},
        "Columns x and rows y of the grid when concat_type is grid.",
        low=1,
        entries={"x": "Columns of the grid of lights.", "y": "Rows of the grid of lights."},
    )
    image_width: Int = setting(224, "Width in pixels that each single image is resized to.", low=1)
    image_height: Int = setting(224, "Height in pixels that each single image is resized to.", low=1)
    num_golden: Int = setting(
        1, "Golden images per test image; more than 1 makes golden_path a folder to draw from.", low=1
    )
    num_classes: Int = setting(2, "Number of classes, PASS and NO_PASS.", low=2, math_cond=">0")
    align: Alignment = setting("none", ALIGN_MEANING, skillrun_only=True)
    cache_dir: OptionalText = setting("", CACHE_MEANING, path=("dir", "out"), skillrun_only=True)
    augmentation_config: ClassifyAugmentation = section(
        ClassifyAugmentation, "Normalisation of the images and augmentation of the training pairs."
    )


def _text_none(value: object) -> object:
    return "None" if value is None else value


class SegmentDataset(Section):
    dataset: Literal["CNDataset"] = setting("CNDataset", "Kind of data set: paired folders with split lists.")
    root_dir: OptionalText = setting("", "Folder that holds the image, label and list folders.", path=("dir", "in"))
    data_name: Literal["LEVIR", "LEVIR-CD", "LandSCD", "custom"] = setting(
        "LEVIR", "Name of the data set; LandSCD selects its colour table for drawings."
    )
    label_transform: Annotated[Literal["norm", "None"], BeforeValidator(_text_none)] = setting(
        "norm", "norm maps mask values 0 and 255 to classes 0 and 1; None keeps class indices."
    )
    batch_size: Int = setting(8, "Pairs per step and device; training needs at least 2.", low=1)
    workers: Int = setting(1, "Processes that load pairs; 0 loads in the main process.", low=0)
    shuffle: bool = setting(True, "Draw the training pairs in a new random order every epoch.")
    multi_scale_train: bool = setting(
        True, "Add the losses of the coarser maps, weighted by train.segment.weights.", automl=True
    )
    multi_scale_infer: bool = setting(False, "Average the maps of all scales for the prediction.")
    num_classes: Int = setting(2, "Number of classes of the mask; no change is class 0.", low=2, math_cond=">0")
    img_size: Int = setting(
        224, "Side in pixels that images and masks are resized to (square); a multiple of 32.", low=1
    )
    image_folder_name: str = setting("A", "Folder below root_dir with the golden (before) images.")
    change_image_folder_name: str = setting("B", "Folder below root_dir with the test (after) images.")
    list_folder_name: str = setting("list", "Folder below root_dir with the split lists (.txt or .csv).")
    annotation_folder_name: str = setting("label", "Folder below root_dir with the change masks.")
    train_split: str = setting("train", "Name of the list of pairs to train on, without ending.")
    validation_split: str = setting("val", "Name of the list of pairs for validation, without ending.")
    test_split: str = setting("test", "Name of the list of pairs for the action evaluate, without ending.")
    predict_split: str = setting(
        "predict", "Name of the list of pairs for the action inference; needs no masks, falls back to test."
    )
    label_suffix: str = setting(".png", "Ending of the mask files.")
    color_map: dict[str, list[Int]] | None = setting(
        None,
        "Colours of the classes in drawings, class index as text -> [red, green, blue] of 0 to 255.",
        low=0,
        high=255,
        automl=False,
        collection=True,
    )
    quant_calibration_dataset: CalibrationImages = section(
        CalibrationImages, "Images for the calibration of a static quantization."
    )
    align: Alignment = setting("none", ALIGN_MEANING, skillrun_only=True)
    cache_dir: OptionalText = setting("", CACHE_MEANING, path=("dir", "out"), skillrun_only=True)
    augmentation: SegmentAugmentation = section(
        SegmentAugmentation, "Normalisation of the images and augmentation of the training pairs."
    )


class Dataset(Section):
    classify: ClassifyDataset = section(ClassifyDataset, "Pairs of task classify: CSV files and images.")
    segment: SegmentDataset = section(SegmentDataset, "Pairs for task segment: paired folders with masks.")
