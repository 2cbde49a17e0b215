"""Compare a test image with a golden image: the model family, its command, and ``Predictor`` for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visual_changenet.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]


def __getattr__(name: str) -> Any:
    """The two public classes, imported when they are first asked for."""
    if name in __all__:
        from visual_changenet import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
