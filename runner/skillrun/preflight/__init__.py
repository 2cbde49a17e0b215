"""Checks between plan and launch. Each finding carries a code, a place and a fix."""

from skillrun.preflight.data import check_data
from skillrun.preflight.gate import require_passed
from skillrun.preflight.registry import rules, waivable
from skillrun.preflight.rule import Rule
from skillrun.preflight.weights import check_weights

__all__ = ["Rule", "check_data", "check_weights", "require_passed", "rules", "waivable"]
