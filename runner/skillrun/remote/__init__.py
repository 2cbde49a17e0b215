"""Data sets and results that lie behind an address: brought into the cache before a run, taken away after it.

Addresses are those of fsspec (``s3://bucket/folder``, ``gs://...``, ``file://...``). Credentials and endpoint come from
the environment (``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ``AWS_ENDPOINT_URL``); nothing here
writes or repeats them.
"""

from __future__ import annotations

from skillrun.remote.connection import plain
from skillrun.remote.data import fetch
from skillrun.remote.results import Uploaded, check_target, upload

__all__ = ["Uploaded", "check_target", "fetch", "plain", "upload"]
