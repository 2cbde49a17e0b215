"""Signing skills, packages of them, and whole banks; which folders of a directory have signatures of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from importlib import import_module
from pathlib import Path

from skillrun.bank import is_bank
from skillrun.errors import DataError, NotFoundError, PreflightError
from skillrun.signatures import hashing_of, need_library, reading_key
from skillrun.signed import BANK_SIGNATURE, Signed, signed_bank, signed_skill
from skillrun.skills.plugin import MARKETPLACE
from skillrun.skills.read import FILE


def signed_folders(folder: Path) -> list[Signed]:
    """What is signed in ``folder``: a skill, a bank, each skill of a folder of skills, or a marketplace.

    A marketplace has a signature for each of its skills and, last, one over everything.

    Raises:
        NotFoundError: ``E_SIGNATURE_TARGET``: it is none of these.
        DataError: ``E_SIGNATURE_FILES``: something lies between skills that no signature of a skill covers.
    """
    if is_bank(folder):
        return [signed_bank(folder)]
    if (folder / MARKETPLACE).is_file():
        skills = sorted(path.parent for path in folder.glob(f"plugins/*/skills/*/{FILE}"))
        return [*map(signed_skill, skills), Signed(folder, BANK_SIGNATURE)]
    if (folder / FILE).is_file():
        return [signed_skill(folder)]
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    if not any((path / FILE).is_file() for path in inside):
        raise NotFoundError(
            "E_SIGNATURE_TARGET",
            f"{folder} is neither a skill, nor a folder of skills, nor a bank, nor a packaged marketplace.",
            "name a folder that holds SKILL.md, or what this makes: skillrun skills package",
        )
    for path in inside:
        if not (path / FILE).is_file():
            raise DataError("E_SIGNATURE_FILES", f"{path} lies between skills and is none.", "move it out of there")
    return [signed_skill(path) for path in inside]


def sign(signed: Signed, key: Path) -> int:
    """Write the signature of a folder, in place of an older one; returns how many files it covers.

    Args:
        signed: the folder.
        key: private key, PEM, without a password, of the curves P-256, P-384 or P-521.

    Raises:
        UsageError: ``E_SIGNATURE_KEY``. DataError: ``E_SIGNATURE_LINK``, ``E_SIGNATURE_FILES``.
        PreflightError: ``E_SKILL_WRITE``. BackendError: ``E_EXTRA_MISSING``.
    """
    need_library()
    config, hasher = import_module("model_signing.signing").Config(), hashing_of(signed)
    with reading_key(key, "private"):
        config.use_elliptic_key_signer(private_key=key)
    config.set_hashing_config(hasher)
    # Beside the folder's own files it would be signed itself, and beside the folder it may not be allowed.
    draft = signed.folder / f".{signed.file}.{os.getpid()}.{secrets.token_hex(3)}"
    try:
        with contextlib.redirect_stdout(sys.stderr):
            config.sign(signed.folder, draft)
        draft.replace(signed.signature)
    except ValueError as error:
        raise DataError("E_SIGNATURE_FILES", f"{signed.folder} can not be signed: {error}", "remove that") from error
    except OSError as error:
        raise PreflightError(
            "E_SKILL_WRITE", f"{error.filename or signed.folder}: {error.strerror}.", "make the folder writable"
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return len(hasher.actual)
