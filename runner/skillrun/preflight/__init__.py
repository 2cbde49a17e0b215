"""Checks between plan and launch. Each finding carries a code, a place and a fix."""

from skillrun.preflight.data import check_data
from skillrun.preflight.weights import check_weights

__all__ = ["check_data", "check_weights"]
