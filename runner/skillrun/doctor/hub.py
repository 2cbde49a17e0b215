"""Access to the model hub. A token's value is never read into a message."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from skillrun.doctor.check import Check

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
YES = ("1", "ON", "YES", "TRUE")


def hub_checks() -> list[Check]:
    """All checks of this module, in order."""
    return [check_token(), check_offline()]


def check_token() -> Check:
    """Where a token is, if there is one; public weights need none."""
    for name in TOKEN_VARIABLES:
        if os.environ.get(name, "").strip():
            return Check("hub token", "ok", f"present in ${name}")
    place = token_file()
    try:
        found = place.stat()
    except OSError:
        return Check("hub token", "ok", "none: public weights need none; for gated ones: hf auth login")
    if not stat.S_ISREG(found.st_mode) or not os.access(place, os.R_OK) or not found.st_size:
        return Check("hub token", "warn", f"{place} holds no token that this user can read", "hf auth login")
    if found.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return Check("hub token", "warn", f"present in {place}, and other users can read it", f"chmod 600 '{place}'")
    return Check("hub token", "ok", f"present in {place}")


def token_file() -> Path:
    """``HF_TOKEN_PATH``, else ``token`` in ``HF_HOME``, else in the user's cache."""
    if own := os.environ.get("HF_TOKEN_PATH"):
        return Path(own).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser() / "token"


def check_offline() -> Check:
    """Whether downloads are switched off."""
    for name in OFFLINE_VARIABLES:
        if os.environ.get(name, "").strip().upper() in YES:
            return Check("offline mode", "ok", f"${name} is on: weights must be in the cache, nothing is downloaded")
    return Check("offline mode", "ok", "off: weights are downloaded when a run needs them")
