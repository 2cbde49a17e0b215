"""What every action does first: check rules across keys and tell the session what was changed."""

from __future__ import annotations

from typing import Any

from visual_changenet.config.rules import RuleError, apply_rules
from visual_changenet.errors import SpecError


def check_rules(spec: dict[str, Any], action: str) -> tuple[dict[str, Any], list[str]]:
    """The spec with values clamped, and one notice per change.

    Raises:
        SpecError: ``E_SPEC_RULE`` where two keys contradict each other.
    """
    try:
        mended, notices = apply_rules(spec, action)
    except RuleError as error:
        raise SpecError("E_SPEC_RULE", error.message, error.fix) from error
    if mended["encryption_key"]:
        notices.append("encryption_key has no effect: checkpoints are written and read as plain files.")
    return mended, notices
