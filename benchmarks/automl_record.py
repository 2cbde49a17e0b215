"""Records what `automl_surfaces.py` looks up: a grid of small real trainings, epoch by epoch.

Run: ``python benchmarks/automl_record.py`` (about six minutes on two cores); writes ``benchmarks/automl_table.json``.
Every training is `visual_changenet` classify with fan_tiny at 32 px on boards that ``skillrun data synth`` draws, with
one schedule of `EPOCHS` epochs. Processor threads and library versions move the last digits, so the file is recorded
once and kept.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import yaml

from skillrun.data.synth import synth
from visual_changenet.cli import main as changenet

TABLE = Path(__file__).with_name("automl_table.json")
EPOCHS, SIDE, PAIRS = 9, 32, 128
RATES = tuple(10 ** (-4.6 + 0.6 * step) for step in range(4))
BATCHES = (8, 16)
AUGMENT = (False, True)
METRICS = ("val_loss", "val_ap")


def spec(data: Path, rate: float, batch: int, augment: bool) -> dict[str, Any]:
    """The spec of one training, without ``results_dir``."""
    places = {"train": data / "train", "validation": data / "eval"}
    sources = {
        f"{name}_dataset": {"csv_path": str(place / "dataset.csv"), "images_dir": str(place / "images")}
        for name, place in places.items()
    }
    return {
        "task": "classify",
        "model": {
            "backbone": {"type": "fan_tiny_8_p4_hybrid"},
            "classify": {"difference_module": "learnable", "embed_dec": 8, "eval_margin": 0.5},
            "decode_head": {"feature_strides": [4, 8, 16, 16], "decoder_params": {"embed_dim": 16}},
        },
        "dataset": {
            "classify": {
                **sources,
                "image_ext": ".png",
                "image_height": SIDE,
                "image_width": SIDE,
                "num_input": 1,
                "input_map": None,
                "batch_size": batch,
                "workers": 0,
                "fpratio_sampling": 1.0,
                "augmentation_config": {
                    "augment": augment,
                    "random_color": {"enable": False},
                    "with_random_blur": False,
                },
            }
        },
        "train": {
            "num_epochs": EPOCHS,
            "device": "cpu",
            "threads": 1,
            "validation_interval": 1,
            "checkpoint_interval": EPOCHS,
            "tensorboard": {"enabled": False},
            "optim": {"lr": rate},
            "classify": {"loss": "ce", "cls_weight": [1.0, 1.0]},
        },
    }


def training(folder: Path, given: dict[str, Any]) -> dict[str, list[float]]:
    """Train in ``folder``; each of `METRICS` after every epoch."""
    folder.mkdir()
    file = folder / "spec.yaml"
    file.write_text(yaml.safe_dump({**given, "results_dir": str(folder / "results")}), encoding="utf-8")
    if changenet(["train", "-e", str(file)]) != 0:
        raise SystemExit(f"the training of {file} failed")
    lines = [json.loads(line) for line in next(folder.rglob("events.jsonl")).read_text(encoding="utf-8").splitlines()]
    epochs = [line["metrics"] for line in lines if line["event"] == "epoch"]
    return {name: [float(f"{metrics[name]:.4g}") for metrics in epochs] for name in METRICS}


def main() -> None:
    """Train the grid and write the file."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "boards"
        synth(data, pairs=PAIRS, size=SIDE)
        for place, (rate, batch, augment) in enumerate(itertools.product(RATES, BATCHES, AUGMENT)):
            curves = training(Path(name) / f"{place:02d}", spec(data, rate, batch, augment))
            rows.append({"lr": rate, "batch": batch, "augment": augment, **curves})
    TABLE.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
