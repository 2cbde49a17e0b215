"""What goes into a bundle, found on this host or fetched to it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from skillrun import bank
from skillrun.bundle.archive import Piece, Show
from skillrun.bundle.disk import as_writing_trouble
from skillrun.bundle.manifest import WHEEL_NAME, Weights, Wheel
from skillrun.errors import BackendError, UsageError
from skillrun.image_context import CONSTRAINTS
from skillrun.staging import stage, store
from skillrun.staging.sources import LocalFile, StoreFile, WebFile, parse
from skillrun.staging.store import Kept


def default_sources() -> tuple[str, ...]:
    """Where the bank's contracts say that backbones come from."""
    rules = [
        rule
        for model in bank.models()
        for action in bank.actions(model)
        for rule in bank.contract(model, action).spec_params.values()
    ]
    return tuple(dict.fromkeys(rule["link"] for rule in rules if isinstance(rule, Mapping) and rule.get("link")))


def weights(source: str, show: Show) -> Piece:
    """A source's file, fetched where it is not here yet; raises what ``stage`` raises.

    An address is recorded without its query, which may hold a secret, and is found again without it.
    """
    wanted, staged = parse(source), stage(source, show=show)
    if isinstance(wanted, LocalFile | StoreFile):  # the other host's cache knows no store
        kept = Kept("", "", "", staged.sha256, WebFile(staged.path.as_uri()).name, staged.size)
    else:
        text = wanted.url if isinstance(wanted, WebFile) else wanted.text
        known = store.recall(store.folder(), text)
        etag = known.etag if known and known.sha256 == staged.sha256 else ""
        kept = Kept(wanted.text, staged.revision, etag, staged.sha256, staged.path.name, staged.size)
    return Piece(Weights(**vars(kept)), staged.path)


def wheels(folder: Path) -> list[Piece]:
    """Every wheel of a folder. Raises UsageError: it is no folder, has no wheel, or one with an odd name."""
    with as_writing_trouble(folder):
        files = sorted(folder.glob("*.whl")) if folder.is_dir() else []
        if not files:
            what = "has no wheels" if folder.is_dir() else "is no folder"
            raise UsageError("E_WHEELHOUSE", f"{str(folder)!r} {what}", "name a folder of wheels: --wheels DIR")
        if odd := [file.name for file in files if not WHEEL_NAME.fullmatch(file.name) or not file.is_file()]:
            raise UsageError("E_WHEELHOUSE", f"{str(folder)!r} has {odd[0]!r}, which is no wheel", "remove it")
        return [
            Piece(Wheel(name=file.name, size=file.stat().st_size, sha256=store.sha256_of(file).hexdigest()), file)
            for file in files
        ]


def fetch_wheels(folder: Path) -> list[Piece]:
    """The wheels of skillrun and of all it requires, for this host's Python, pinned by ``constraints.txt``.

    Raises:
        UsageError: this installation has no sources to make skillrun's wheel from. BackendError: pip failed.
    """
    root = bank.bank_root()
    instead = "name a folder of wheels: --wheels DIR, or leave them out: --no-wheels"
    if not (root / "pyproject.toml").is_file():
        raise UsageError("E_BUNDLE_WHEELS", f"{root} has no sources to make skillrun's wheel from", instead)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run(
        [*command, "-w", str(folder), "-c", str(root / CONSTRAINTS), str(root)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        why = said[-1] if said else f"it ended with {done.returncode}"
        raise BackendError(
            "E_BUNDLE_WHEELS", f"pip did not make the wheels of skillrun: {why[:300]}", instead, retryable=True
        )
    return wheels(folder)
