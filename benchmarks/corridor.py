"""From a request to a plan, in process: resolve, validate, plan. The bar is 30 ms.

Run: ``python benchmarks/corridor.py``. 50 requests of each kind after warm-up; train with
two data sets, evaluate with a parent run and a data set, segment_train with a root folder.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial
from pathlib import Path

from measure import measure, show

from skillrun import bank
from skillrun.data.synth import synth
from skillrun.datasets import DataSources
from skillrun.prepare import Request, prepare
from skillrun.runfolder import RunFolder
from skillrun.specfile import dump_spec

MODEL = "visual_changenet"
REPEATS, WARM_UP, BAR_MS = 50, 5, 30.0


def add_parent(root: Path) -> None:
    """A finished train run with one checkpoint."""
    run = RunFolder(root / "runs" / "261120-000000-train-00")
    run.results.mkdir(parents=True)
    (run.results / "best.pth").touch()
    entry = {"path": "results/best.pth", "epoch": 0, "step": 1, "metrics": {"val_ap": 0.9}, "best": True}
    run.result.write_text(json.dumps({"status": "succeeded", "checkpoints": [entry]}), encoding="utf-8")
    run.exit.write_text('{"exit_code": 0}', encoding="utf-8")
    run.spec.write_text(dump_spec(bank.defaults(MODEL, "train")), encoding="utf-8")
    run.write_record(run_id=run.run_id, action="train", task="classify", backend="local", handle={"pid": 1})


def requests(root: Path) -> dict[str, Request]:
    """Three requests over tiny data sets below ``root``."""
    synth(root / "boards", pairs=16, size=32)
    synth(root / "masks", task="segment", pairs=16, size=32)
    add_parent(root)
    train, held_out = root / "boards" / "train", root / "boards" / "eval"
    values = ("num_epochs=3", "train.optim.lr=1e-4", "batch_size=4", "pretrained_backbone=")
    return {
        "train": Request(
            MODEL, "train", sources=DataSources(train, held_out), overrides=values, automl=False, workspace=root
        ),
        "evaluate": Request(
            MODEL, "evaluate", sources=DataSources(eval_dataset=held_out), parent="last", workspace=root
        ),
        "segment_train": Request(
            MODEL,
            "train",
            task="segment",
            sources=DataSources(train_datasets=root / "masks"),
            overrides=values,
            automl=False,
            workspace=root,
        ),
    }


def main() -> None:
    """Measure and print."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for action, request in requests(Path(name)).items():
            timing = measure(partial(prepare, request), REPEATS, warm_up=WARM_UP)
            verdict = "below" if timing.median < BAR_MS else "ABOVE"
            rows.append((action, *timing.cells(), f"{BAR_MS:.0f}", verdict))
    show(f"Request → plan in process, {REPEATS} each", ("", "median ms", "min–max", "bar ms", ""), rows)


if __name__ == "__main__":
    main()
