"""A tiny classify data set and spec, written to disk."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

SIDE = 32


def write_images(folder: Path, count: int = 12) -> Path:
    """``data.csv`` and images: every third test image has a bright square that its golden lacks."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        golden = rng.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
        test = golden.copy()
        defect = index % 3 == 0
        if defect:
            test[8:24, 8:24] = 255
        for name, image in (("unit", test), ("golden", golden)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / name / f"{index:03d}.png")
        rows.append(["unit", "golden", "bridge" if defect else "PASS", f"{index:03d}", f"board {index}, ü"])
    with (folder / "data.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["input_path", "golden_path", "label", "object_name", "board"])
        writer.writerows(rows)
    return folder / "data.csv"


def write_spec(folder: Path, **train: Any) -> Path:
    """Spec for ``folder`` results in ``folder/results``; ``train`` changes keys of that section."""
    table = folder / "data.csv"
    if not table.exists():
        write_images(folder)
    source = {"csv_path": str(table), "images_dir": str(folder)}
    spec = {
        "task": "classify",
        "results_dir": str(folder / "results"),
        "model": {
            "backbone": {"type": "fan_tiny_8_p4_hybrid"},
            "classify": {"difference_module": "learnable", "embed_dec": 8, "eval_margin": 0.5},
            "decode_head": {"feature_strides": [4, 8, 16, 16], "decoder_params": {"embed_dim": 16}},
        },
        "dataset": {
            "classify": {
                **{f"{name}_dataset": source for name in ("train", "validation", "test", "infer")},
                "image_ext": ".png",
                "image_height": SIDE,
                "image_width": SIDE,
                "num_input": 1,
                "input_map": None,
                "batch_size": 4,
                "workers": 0,
                "augmentation_config": {"augment": True, "random_shift": 2},
            }
        },
        "train": {"num_epochs": 2, "device": "cpu", "threads": 1, "classify": {"loss": "ce"}} | train,
        "evaluate": {"checkpoint": "${results_dir}/train/changenet_model_classify_latest.pth"},
        "inference": {"checkpoint": "${evaluate.checkpoint}"},
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def write_segment(folder: Path, count: int = 10, **train: Any) -> Path:
    """A segment data set of ``count`` pairs in ``folder``, every test image with a bright square, and its spec."""
    rng = np.random.default_rng(1)
    for name in ("A", "B", "label", "list"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    names = [f"pair {index:02d}.png" for index in range(count)]
    for index, name in enumerate(names):
        golden = rng.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
        test, mask = golden.copy(), np.zeros((SIDE, SIDE), np.uint8)
        top, left = 2 * (index % 7), 3 * (index % 5)
        test[top : top + 12, left : left + 12] = 255
        mask[top : top + 12, left : left + 12] = 255
        for part, image in (("A", golden), ("B", test), ("label", mask)):
            Image.fromarray(image).save(folder / part / name)
    for split, chosen in (("train", names[:8]), ("val", names[6:]), ("test", names[6:]), ("predict", names[:3])):
        (folder / "list" / f"{split}.txt").write_text("\n".join(chosen), encoding="utf-8")
    data = {"root_dir": str(folder), "img_size": SIDE, "batch_size": 2, "workers": 0}
    spec = {
        "task": "segment",
        "results_dir": str(folder / "results"),
        "model": {
            "backbone": {"type": "fan_tiny_8_p4_hybrid"},
            "decode_head": {"decoder_params": {"embed_dim": 16}},
        },
        "dataset": {"segment": data},
        "train": {"num_epochs": 2, "device": "cpu", "threads": 1, "optim": {"lr": 5e-4}} | train,
        "evaluate": {"checkpoint": "${results_dir}/train/changenet_model_segment_latest.pth"},
        "inference": {"checkpoint": "${evaluate.checkpoint}"},
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def command(action: str, spec: Path, *overrides: str) -> list[str]:
    """The command line of one action."""
    return [sys.executable, "-m", "visual_changenet", action, "-e", str(spec), *overrides]


def run(action: str, spec: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Run one action to its end."""
    environment = {key: value for key, value in os.environ.items() if key != "SKILLRUN_RUN_DIR"}
    return subprocess.run(
        command(action, spec, *overrides),
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )


def result(folder: Path) -> dict[str, Any]:
    """result.json of an action."""
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a file with one JSON object a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rows(path: Path) -> list[list[str]]:
    """Cells of a CSV file, the header first."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


class Case:
    """What the fixture ``case`` offers: the functions above."""

    result = staticmethod(result)
    lines = staticmethod(lines)
    rows = staticmethod(rows)

    write_images = staticmethod(write_images)
    write_spec = staticmethod(write_spec)
    write_segment = staticmethod(write_segment)
    command = staticmethod(command)
    run = staticmethod(run)


@pytest.fixture(scope="session")
def case() -> type[Case]:
    """Functions that write tiny data sets and run actions on them."""
    return Case


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a data set with a finished two-epoch training; do not write into ``results/train``."""
    folder = tmp_path_factory.mktemp("ein Ordner, mit 'Ü'")
    done = run("train", write_spec(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def trained_segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a segment data set with a finished two-epoch training; do not write into ``results/train``."""
    folder = tmp_path_factory.mktemp("Masken, mit 'Ü'")
    done = run("train", write_segment(folder, checkpoint_interval=1))
    assert done.returncode == 0, done.stderr
    return folder
