"""``--require-signed`` as a user types it, on a bank and a program of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skillrun.bank import bank_root
from skillrun.signatures import VARIABLE

PARTS = ("runner", "skills", "schemas", "references", "containers", "constraints.txt", "pyproject.toml", "LICENSE")
UNUSED = shutil.ignore_patterns("__pycache__", "*.pyc")


@pytest.fixture
def keys(hostile_dir: Path) -> tuple[Path, Path]:
    """(private, public) of who signs."""
    own, public = hostile_dir / "own.pem", hostile_dir / "public.pem"
    key, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    own.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(pem, form))
    return own, public


@pytest.fixture
def bank(hostile_dir: Path) -> Path:
    """A copy of everything that the runner is."""
    root = hostile_dir / "copied"
    root.mkdir()
    for part in PARTS:
        source = bank_root() / part
        if source.is_dir():
            shutil.copytree(source, root / part, symlinks=True, ignore=UNUSED)
        else:
            shutil.copy(source, root / part)
    return root


def typed(bank: Path, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(bank / "runner"), "SKILLRUN_WORKSPACE": str(bank.parent), **more}
    program = [sys.executable, "-c", "from skillrun.cli import main; main()"]
    return subprocess.run(
        [*program, *map(str, words)], env=env, cwd=bank.parent, capture_output=True, text=True, check=False, timeout=120
    )


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (3, "E_BANK_UNVERIFIED"), done.stderr
    return str(error["message"])


def test_only_a_bank_that_the_key_signed_is_read(bank: Path, keys: tuple[Path, Path]) -> None:
    own, public = keys
    ask = ("skills", "list", "--json")
    assert "has no bank.oms.sig" in refusal(typed(bank, "--require-signed", public, *ask))

    assert typed(bank, "skills", "sign", bank, "--key", own).returncode == 0
    assert len(json.loads(typed(bank, f"--require-signed={public}", *ask).stdout)["skills"]) == 4

    assert "none.pem" in refusal(typed(bank, "doctor", "--json", **{VARIABLE: str(bank / "none.pem")}))

    schema = bank / "schemas" / "visual_changenet" / "train.schema.json"
    schema.write_text(schema.read_text(encoding="utf-8").replace('"minimum"', '"maximum"', 1), encoding="utf-8")
    assert "schemas/visual_changenet/train.schema.json" in refusal(typed(bank, "--require-signed", public, *ask))
    assert typed(bank, *ask).returncode == 0  # nobody demands anything here


def test_the_demand_in_the_environment_reaches_the_jobs_of_agents(bank: Path, keys: tuple[Path, Path]) -> None:
    own, public = keys
    assert typed(bank, "skills", "sign", bank, "--key", own).returncode == 0
    call = ("tools", "call", "skillrun_plan_run", '{"action": "train"}')
    planned = typed(bank, *call, **{VARIABLE: str(public)})
    assert planned.returncode == 0, planned.stderr
    (bank / "references" / "visual_changenet" / "added.yaml").write_text("a: 1\n", encoding="utf-8")
    assert "added.yaml" in refusal(typed(bank, *call, "--json", **{VARIABLE: str(public)}))
