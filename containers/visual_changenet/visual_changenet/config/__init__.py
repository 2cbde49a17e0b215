"""The spec of Visual ChangeNet as classes: the one source of types, bounds, defaults and meanings."""

from __future__ import annotations

from visual_changenet.config.experiment import ExperimentConfig

__all__ = ["ExperimentConfig"]
