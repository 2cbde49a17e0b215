"""What checks of data sets and weights can find, as records for waivers, ``--fix`` and the documents."""

from __future__ import annotations

from skillrun.preflight.rule import Rule

_ERRORS = {
    "E_DATA_CSV_BOM": "The CSV starts with a byte order mark",
    "E_DATA_CSV_COLUMNS": "The CSV has not the documented columns",
    "E_DATA_CSV_DELIMITER": "The CSV is not separated by commas",
    "E_DATA_CSV_ENCODING": "The CSV is not UTF-8",
    "E_DATA_CSV_MISSING": "There is no CSV",
    "E_DATA_CSV_VALUE": "A field of the CSV is empty or malformed",
    "E_DATA_EMPTY": "The data set holds no pair",
    "E_DATA_FOLDER_MISSING": "A folder of the data set is missing",
    "E_DATA_IMAGES_DIR_MISSING": "The image folder is missing",
    "E_DATA_IMAGE_EXT": "The images have another extension than the spec says",
    "E_DATA_IMAGE_MISSING": "An image that is named does not exist",
    "E_DATA_IMAGE_UNREADABLE": "An image can not be decoded",
    "E_DATA_LIST_MISSING": "A list of pairs is missing",
    "E_DATA_MASK_CHANNELS": "A mask is no greyscale image",
    "E_DATA_MASK_VALUES": "A mask holds values that are no class",
    "E_DATA_PATH_ESCAPES": "A path leads out of the image folder",
    "E_WEIGHTS_FAMILY": "The weights belong to another backbone",
    "E_WEIGHTS_FILE": "The file of weights is damaged",
    "E_WEIGHTS_SOURCE": "A source or a folder stands where a file of weights is read",
    "E_WEIGHTS_MISSING": "The file of weights does not exist",
}
# A run can go on with these; its result may be worth less.
_DOUBTS = {
    "E_DATA_LABEL_CONFLICT": "One pair has two labels",
    "E_DATA_SIZE_MISMATCH": "Images of one pair have different sizes",
    "W_DATA_BALANCE": "One class is rare",
    "W_DATA_DUPLICATE": "A pair is named twice",
    "W_DATA_GOLDEN_IS_TEST": "Golden and test image of a defect are the same",
    "W_DATA_HIDDEN": "Hidden files lie among the images",
    "W_DATA_LABEL_CASE": "One label is spelled in two ways",
    "W_DATA_LEAK": "A pair is in the data to train on and in the data to measure on",
    "W_DATA_MASK_GREY": "A mask has grey values at its edges",
    "W_DATA_MASK_JPEG": "A mask is a JPEG, which blurs its edges",
    "W_DATA_ONE_CLASS": "There is only one class",
    "W_DATA_SHIFT": "Golden and test images do not lie on each other",
    "W_DATA_SIZE_MISMATCH": "Images have different sizes",
    "W_DATA_SPLIT_OVERLAP": "One pair is in two splits",
    "W_DATA_TWIN": "Two images are the same under different names",
    "W_DATA_UNPAIRED": "Images or masks lie there without a partner",
}
_SAFE = ("E_DATA_IMAGE_EXT",)


def data_rules() -> list[Rule]:
    """A record for each code of `skillrun.data.check` and of the weights' header."""
    hard = [Rule(code, "data", title, waivable=False, safe=code in _SAFE) for code, title in _ERRORS.items()]
    return hard + [Rule(code, "data", title) for code, title in _DOUBTS.items()]
