"""``skillrun skills sign|verify``, and ``--require-signed``, which holds for every command."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from skillrun import bank, signatures
from skillrun.cli.options import Json
from skillrun.cli.output import Output
from skillrun.signed import quoted

OPTION = "--require-signed"
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A skill, a folder of skills, a package, or a bank.")]


def sign(
    folder: Folder,
    key: Annotated[Path, typer.Option("--key", metavar="KEY.pem", help="Private key: P-256, P-384 or P-521.")],
    json: Json = False,
) -> None:
    """Sign every file of a folder by OpenSSF model-signing; the signature lies in the folder."""
    from skillrun.skills.sign import sign as write
    from skillrun.skills.sign import signed_folders

    rows = [(item, write(item, key)) for item in signed_folders(folder)]
    output = Output(json)
    output.data(
        {"signatures": [{"signature": str(item.signature), "files": count} for item, count in rows]},
        "\n".join(f"{item.signature}: {count} files" for item, count in rows),
    )
    output.hint(f"skillrun skills verify {quoted(folder)} --key PUB.pem")


def verify(
    folder: Folder,
    key: Annotated[Path, typer.Option("--key", metavar="PUB.pem", help="Public key of who signed.")],
    json: Json = False,
) -> None:
    """Exit 7 where a file was added, changed or removed since the folder was signed, or somebody else signed it."""
    from skillrun.skills.sign import signed_folders

    rows = [(item, signatures.verify(item, key)) for item in signed_folders(folder)]
    Output(json).data(
        {"ok": True, "signatures": [{"signature": str(item.signature), "files": count} for item, count in rows]},
        "\n".join(f"{item.folder}: {count} files as they were signed" for item, count in rows),
    )


def taken(words: Sequence[str]) -> tuple[list[str], str]:
    """(the words without ``--require-signed``, its value) of a command line; only before the command it is ours."""
    rest, before, key = list(words), list[str](), ""
    while rest and rest[0].startswith("-"):
        option, equals, value = rest[0].partition("=")
        if option == OPTION and (value or (not equals and rest[1:])):
            key = value or rest[1]
            del rest[: 1 if value else 2]
        else:
            before.append(rest.pop(0))
    return [*before, *rest], key


def require(key: Path | str) -> None:
    """Ask for a signed bank from here on, in processes started from here too."""
    wanted = str(Path(key).expanduser().resolve())
    if os.environ.get(signatures.VARIABLE) != wanted:
        os.environ[signatures.VARIABLE] = wanted
        bank.bank_root.cache_clear()
