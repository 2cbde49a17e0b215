"""Whether the signature of a folder holds, and the bank that is refused where it does not.

Signatures are those of OpenSSF model-signing (a Sigstore bundle over the SHA-256 of every file), made with elliptic
curve keys; its own command line verifies them too. The bank is verified before anything is read from it, so this module
knows nothing of the bank.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.errors import BackendError, DataError, PreflightError, SkillrunError, UsageError
from skillrun.signed import SKILL_SIGNATURE, Signed, quoted, seen, signed_bank, unreadable

if TYPE_CHECKING:
    from model_signing import hashing

# Public key with which the bank has to be signed; where it is empty, any bank is loaded.
VARIABLE = "SKILLRUN_REQUIRE_SIGNED"
# A signature names each file once; nobody needs one of this size.
SIGNATURE_BYTES = 8 << 20
_MODULES = ("model_signing", "OpenSSL")


def verify(signed: Signed, key: Path) -> int:
    """Make sure that every covered file is as it was signed; returns how many there are.

    Args:
        signed: the folder.
        key: public key, PEM, of the curves P-256, P-384 or P-521.

    Raises:
        DataError: ``E_SIGNATURE_MISSING``, ``E_SIGNATURE_INVALID`` (another key, a damaged file),
            ``E_SIGNATURE_FILES`` (names every file that was added, changed or removed), ``E_SIGNATURE_MOVED``.
        UsageError: ``E_SIGNATURE_KEY``. BackendError: ``E_EXTRA_MISSING``.
    """
    if not signed.signature.is_file() or signed.signature.is_symlink():
        raise DataError("E_SIGNATURE_MISSING", f"{signed.folder} has no {signed.file}.", _sign_command(signed))
    need_library()
    from cryptography.exceptions import InvalidSignature

    config, hasher = import_module("model_signing.verifying").Config(), hashing_of(signed)
    with reading_key(key, "public"), contextlib.redirect_stdout(sys.stderr):
        config.use_elliptic_key_verifier(public_key=key)
    config.set_hashing_config(hasher)
    try:
        if signed.signature.stat().st_size > SIGNATURE_BYTES:
            raise ValueError(f"it has more than {SIGNATURE_BYTES} bytes")
        # The library tells of old formats by print, and stdout is data.
        with contextlib.redirect_stdout(sys.stderr):
            config.verify(signed.folder, signed.signature)
    except OSError as error:
        raise unreadable(error) from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, InvalidSignature) as error:
        if hasher.actual is None:
            raise _invalid(signed, key, error) from error
        raise _differs(signed, hasher.actual) from error
    _check_place(signed)
    return len(hasher.actual or ())


def need_library() -> None:
    """Make sure that the extra ``sign`` is installed. Raises BackendError ``E_EXTRA_MISSING``."""
    from importlib.util import find_spec

    missing = [name for name in _MODULES if find_spec(name) is None]
    if missing:
        raise BackendError(
            "E_EXTRA_MISSING",
            f"Signatures need the Python package(s) {', '.join(missing)}, not installed here.",
            'pip install "skillrun[sign]"',
        )


@contextlib.contextmanager
def reading_key(path: Path, kind: str) -> Iterator[None]:
    """What goes wrong with a key file, said in one way."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        yield
    except (OSError, ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).split("\n")[0][:120].rstrip(".")
        why = "it is of another kind than elliptic curve keys" if isinstance(error, AttributeError) else why
        raise UsageError(
            "E_SIGNATURE_KEY",
            f"{path} is no {kind} key that can be used: {why}.",
            "skillrun explain E_SIGNATURE_KEY",
        ) from error


def hashing_of(signed: Signed) -> Any:
    """A hashing configuration that hashes what `seen` finds, and keeps it as ``actual``: name -> SHA-256."""
    from model_signing import hashing as library

    class _Seen(library.Config):
        actual: dict[str, str] | None = None

        def hash(self, model_path: hashing.PathLike, *, files_to_hash: Any = None) -> Any:
            # A signature can name paths to be left out; here none is, or they would hide what was added.
            self.set_ignored_paths(paths=[], ignore_git_paths=False)
            manifest = super().hash(signed.folder, files_to_hash=seen(signed))
            self.actual = {item.identifier: item.digest.digest_hex for item in manifest.resource_descriptors()}
            return manifest

    make: Any = _Seen
    return make().set_allow_symlinks(bool(signed.parts))


def _statement(signed: Signed) -> dict[str, Any]:
    """What a signature says; to be asked only after the library has accepted who said it."""
    import base64
    import json

    bundle = json.loads(signed.signature.read_bytes())
    statement: dict[str, Any] = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    return statement


def _differs(signed: Signed, actual: dict[str, str]) -> DataError:
    told = {item["name"]: item["digest"] for item in _statement(signed)["predicate"]["resources"]}
    lines = [f"added: {name}" for name in sorted(actual.keys() - told.keys())]
    lines += [f"changed: {name}" for name in sorted(actual.keys() & told.keys()) if actual[name] != told[name]]
    lines += [f"removed: {name}" for name in sorted(told.keys() - actual.keys())]
    first = lines[0] if lines else "its list of files contradicts itself"
    return DataError(
        "E_SIGNATURE_FILES",
        f"{signed.folder} is not what was signed: {first}" + (f", and {len(lines) - 1} more." if lines[1:] else "."),
        f"get it again from who signed it; or, where the changes are yours: {_sign_command(signed)}",
        details=lines,
    )


def _invalid(signed: Signed, key: Path, error: Exception) -> DataError:
    why = str(error).strip().split("\n")[0][:160] or type(error).__name__
    return DataError(
        "E_SIGNATURE_INVALID",
        f"{signed.signature} is no signature by {key}: {why.rstrip('.')}.",
        "get folder and public key again from who signed, or sign it yourself: " + _sign_command(signed),
    )


def _check_place(signed: Signed) -> None:
    """A skill with its signature under another name is another skill to an agent."""
    name = str(_statement(signed)["subject"][0]["name"])
    here = signed.folder.resolve().name
    if signed.file == SKILL_SIGNATURE and name != here:
        raise DataError(
            "E_SIGNATURE_MOVED",
            f"{signed.signature} was made for a skill {name!r}, and this folder is {here!r}.",
            f"mv {quoted(signed.folder)} {quoted(signed.folder.parent / name)}",
        )


def _sign_command(signed: Signed) -> str:
    return f"skillrun skills sign {quoted(signed.folder)} --key KEY.pem"


def demand(root: Path) -> None:
    """Refuse a bank that is not signed by the key in ``SKILLRUN_REQUIRE_SIGNED``; nothing where that is empty.

    The variable is made absolute, so that processes started from here ask for the same key.

    Raises:
        PreflightError: ``E_BANK_UNVERIFIED``.
    """
    wanted = os.environ.get(VARIABLE, "")
    if not wanted:
        return
    key = Path(wanted).expanduser().resolve()
    os.environ[VARIABLE] = str(key)
    try:
        verify(signed_bank(root), key)
    except SkillrunError as error:
        look = f"{VARIABLE}= skillrun skills verify {quoted(root)} --key {quoted(key)}"
        raise PreflightError(
            "E_BANK_UNVERIFIED",
            f"The bank is not loaded, because it is not verified: {error.message}",
            look if isinstance(error, DataError) else error.fix,
            details=error.details,
        ) from error
