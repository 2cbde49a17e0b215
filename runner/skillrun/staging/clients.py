"""Weights that another client brings: an object of a store, a file of NVIDIA's catalogue."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from skillrun.datasets import cache_root
from skillrun.errors import BackendError, CredentialsError, NotFoundError, SkillrunError, UsageError
from skillrun.progress import Progress
from skillrun.staging import store
from skillrun.staging.sources import WEIGHT_FILES, CatalogueFile, StoreFile
from skillrun.staging.store import Kept

CLIENT = "ngc"
_REFUSED = re.compile(r"api key|unauthori[sz]ed|forbidden|not authenticated|\b40[13]\b", re.IGNORECASE)
_UNKNOWN = re.compile(r"not found|could not be found|does not exist|\b404\b", re.IGNORECASE)


def from_store(source: StoreFile, *, offline: bool, show: Callable[[Progress], None]) -> Path:
    """The object in the content cache; raises what ``remote.fetch`` raises, NotFoundError for a folder."""
    from skillrun.remote import fetch

    path = fetch(source.url, cache_root(), offline=offline, show=show)
    if path.is_dir():
        inside = sorted(child.name for child in path.iterdir())[:4]
        raise NotFoundError(
            "E_STAGE_FILE", f"{source.text} is a folder with {', '.join(inside)}", f"{source.text.rstrip('/')}/FILE"
        )
    return path


def from_catalogue(source: CatalogueFile, root: Path, show: Callable[[Progress], None]) -> Kept:
    """Have the catalogue's own client download a model version, and take its weights in.

    Raises:
        CredentialsError: no client here, or it has no key that opens this. NotFoundError: no such version or file.
        UsageError: the version has several files of weights. BackendError: the client failed.
    """
    if shutil.which(CLIENT) is None:
        raise CredentialsError(
            "E_STAGE_NGC",
            f"{source.text} needs the catalogue's own client, {CLIENT}, which is not here",
            f"install the NGC CLI, then: ngc config set; or elsewhere: {_command(source, Path())}, and name the file",
        )
    with store.as_cache_trouble(root):
        aside = Path(tempfile.mkdtemp(dir=root, prefix=".ngc-"))
    try:
        show(Progress("waiting for the catalogue's client", 0, 0))
        done = subprocess.run(_words(source, aside), capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise _refusal(source, done.stdout + done.stderr)
        file = _chosen(source, aside)
        digest = store.sha256_of(file).hexdigest()
        kept = Kept(source.text, source.version, "", digest, file.name, file.stat().st_size)
        store.take_in(root, file, kept)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(aside)
    store.remember(root, source.text, kept)
    return kept


def _words(source: CatalogueFile, folder: Path) -> list[str]:
    name = f"{source.model}:{source.version}"
    return [CLIENT, "registry", "model", "download-version", name, "--dest", str(folder)]


def _command(source: CatalogueFile, folder: Path) -> str:
    return shlex.join(_words(source, folder))


def _chosen(source: CatalogueFile, folder: Path) -> Path:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    fitting = [path for path in files if not source.file or path.as_posix().endswith(f"/{source.file}")]
    weights = [path for path in fitting if source.file or path.suffix.lower() in WEIGHT_FILES]
    names = ", ".join(path.name for path in files[:8]) or "nothing"
    version = f"ngc://{source.model}:{source.version}"
    if not weights:
        raise NotFoundError(
            "E_STAGE_FILE", f"{source.text} is not in what the client brought: {names}", f"{version}/FILE"
        )
    if len(weights) > 1:
        raise UsageError(
            "E_STAGE_SOURCE", f"{version} has several files of weights: {names}", f"{version}/{weights[0].name}"
        )
    return weights[0]


def _refusal(source: CatalogueFile, said: str) -> SkillrunError:
    words = " ".join(said.split())[-300:]
    if _REFUSED.search(said):
        return CredentialsError("E_STAGE_NGC", f"{source.text}: the catalogue refuses: {words}", "ngc config set")
    if _UNKNOWN.search(said):
        fix = f"ngc registry model list {shlex.quote(source.model + ':*')}"
        return NotFoundError("E_STAGE_FILE", f"{source.text} is not in the catalogue: {words}", fix)
    return BackendError(
        "E_HUB_UNREACHABLE", f"{source.text}: {CLIENT} failed: {words}", _command(source, Path()), retryable=True
    )
