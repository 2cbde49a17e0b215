"""The published AutoML package as a searcher, through its interface for use without its runner; numbers alone."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import math
import tempfile
from collections.abc import Callable
from typing import Any

from skillrun.automl import Param, Space

PACKAGE = "tao_automl"
ALGORITHMS = ("bayesian", "bfbo")
EPOCHS = 9


def installed() -> bool:
    """Whether the package is here."""
    return importlib.util.find_spec(PACKAGE) is not None


def takes(space: Space) -> bool:
    """Only numbers that matter in every trial; log axes are given to it as logarithms."""
    return all(param.kind == "float" and not param.when for param in space.params)


def published(
    algorithm: str, space: Space, seed: int, budget: int, tell: Callable[[dict[str, Any], int], float]
) -> None:
    """Search with ``budget`` trials; ``tell`` maps values and the trial's number to what is minimised.

    Its random numbers follow from its session's name, salted by Python: they repeat where ``PYTHONHASHSEED`` is set.
    """
    names = {param.key: param for param in space.params}
    middle = {key: sum(_ends(param)) / 2 for key, param in names.items()}
    properties = {
        key: {
            "type": "float",
            "default": middle[key],
            "minimum": _ends(param)[0],
            "maximum": _ends(param)[1],
            "automl_enabled": True,
        }
        for key, param in names.items()
    }
    train = {"num_epochs": EPOCHS, **middle}
    epochs = {"type": "int", "default": EPOCHS}
    settings = {"algorithm": algorithm, "metric": "val_loss", "automl_max_recommendations": budget}
    rungs = {"automl_max_epochs": EPOCHS, "automl_reduction_factor": 3, "session_id": f"session {seed}"}
    logging.getLogger(PACKAGE).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        search = importlib.import_module(PACKAGE).AutoML(
            workspace=folder,
            network="toy",
            train_specs={"train": train},
            settings={**settings, **rungs},
            search_schema={
                "type": "object",
                "properties": {"train": {"type": "collection", "properties": {"num_epochs": epochs, **properties}}},
                "default": {"train": train},
            },
        )
        done = 0
        while done < budget and not search.is_complete():
            for trial in search.next_recommendation():
                drawn = {key: float(trial.specs[f"train.{key}"]) for key in names}
                values = {key: 10**value if names[key].log else value for key, value in drawn.items()}
                search.report_result(trial.id, tell(values, done))
                done += 1


def _ends(param: Param) -> tuple[float, float]:
    return (math.log10(param.low), math.log10(param.high)) if param.log else (param.low, param.high)
