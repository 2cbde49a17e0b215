"""What was signed and is no longer so fails, whichever way it was changed; a bank that is not signed is not read."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from skillrun import bank, signatures
from skillrun.cli import skills_trust
from skillrun.errors import SkillrunError
from skillrun.signatures import VARIABLE
from skillrun.signed import BANK_SIGNATURE, SKILL_SIGNATURE, signed_bank, signed_skill
from skillrun.skills.package import write_package
from skillrun.skills.sign import sign, signed_folders

library = pytest.importorskip("model_signing", reason="pip install 'skillrun[sign]'", exc_type=ImportError)


@pytest.fixture(autouse=True)
def no_key_is_demanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def make_keys(folder: Path, curve: str = "SECP256R1") -> tuple[Path, Path]:
    """(private key, public key), new."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    made = ed25519.Ed25519PrivateKey.generate() if curve == "Ed25519" else ec.generate_private_key(getattr(ec, curve)())
    folder.mkdir(parents=True, exist_ok=True)
    private, public = folder / "key.pem", folder / "pub.pem"
    plain, pem = serialization.NoEncryption(), serialization.Encoding.PEM
    private.write_bytes(made.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    public.write_bytes(made.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(hostile_dir: Path) -> tuple[Path, Path]:
    return make_keys(hostile_dir / "keys")


def make_skill(folder: Path) -> Path:
    (folder / "references").mkdir(parents=True)
    (folder / "SKILL.md").write_text(f"---\nname: {folder.name}\ndescription: Use when x.\n---\n\nDo it.\n", "utf-8")
    (folder / "references/ä more.md").write_text("# More\n", encoding="utf-8")
    return folder


@pytest.fixture
def skill(hostile_dir: Path) -> Path:
    return make_skill(hostile_dir / "skills" / "boards")


@pytest.fixture
def copied_bank(hostile_dir: Path) -> Path:
    """A bank with its links, as in a checkout, and things in it that the runner never reads."""
    root = hostile_dir / "bank"
    for part in ("skills", "schemas", "references"):
        shutil.copytree(bank.bank_root() / part, root / part, symlinks=True)
    shutil.copy(bank.bank_root() / "constraints.txt", root)
    (root / ".git").mkdir()
    (root / ".git/HEAD").write_text("x", encoding="utf-8")
    return root


def refused(action: Callable[[], object]) -> SkillrunError:
    with pytest.raises(SkillrunError) as caught:
        action()
    return caught.value


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


def swap_for_link(folder: Path) -> None:
    """The same content, from outside."""
    path, outside = folder / "references/ä more.md", folder.parent.parent / "outside.md"
    path.rename(outside)
    path.symlink_to(outside)


def swap_for_link_inside(folder: Path) -> None:
    (folder / "references/ä more.md").unlink()
    (folder / "references/ä more.md").symlink_to("../SKILL.md")


CHANGES: list[tuple[str, Callable[[Path], object], str, str]] = [
    ("added", write("references/new.md", "x"), "E_SIGNATURE_FILES", "added: references/new.md"),
    ("added and hidden", write(".hidden", "x"), "E_SIGNATURE_FILES", "added: .hidden"),
    ("added for git", write(".gitignore", "x"), "E_SIGNATURE_FILES", "added: .gitignore"),
    ("changed", write("SKILL.md", "x"), "E_SIGNATURE_FILES", "changed: SKILL.md"),
    ("removed", lambda folder: (folder / "references/ä more.md").unlink(), "E_SIGNATURE_FILES", "removed: references/"),
    ("renamed", lambda folder: (folder / "SKILL.md").rename(folder / "skill.md"), "E_SIGNATURE_FILES", "added: skill."),
    ("link to the same elsewhere", swap_for_link, "E_SIGNATURE_LINK", "outside.md"),
    ("link to another file", swap_for_link_inside, "E_SIGNATURE_LINK", "SKILL.md"),
    ("pipe", lambda folder: os.mkfifo(folder / "pipe"), "E_SIGNATURE_FILES", "pipe is neither"),
]


@pytest.mark.parametrize(("change", "code", "names"), [item[1:] for item in CHANGES], ids=[item[0] for item in CHANGES])
def test_a_changed_skill_fails_and_the_file_is_named(
    skill: Path, keys: tuple[Path, Path], change: Callable[[Path], object], code: str, names: str
) -> None:
    assert sign(signed_skill(skill), keys[0]) == 2
    assert signatures.verify(signed_skill(skill), keys[1]) == 2
    change(skill)
    error = refused(lambda: signatures.verify(signed_skill(skill), keys[1]))
    assert (error.code, error.exit_code) == (code, 7)
    assert names in "\n".join([error.message, *error.details])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def nested(path: Path) -> None:
    path.write_text("[" * 100_000, encoding="utf-8")


def edited(path: Path) -> None:
    """The statement says what an attacker wants, under the old signature."""
    told = json.loads(path.read_bytes())
    statement = json.loads(base64.b64decode(told["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"].pop()
    told["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    path.write_text(json.dumps(told), encoding="utf-8")


def unsigned(path: Path) -> None:
    told = json.loads(path.read_bytes())
    told["dsseEnvelope"]["signatures"] = []
    path.write_text(json.dumps(told), encoding="utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        nested,
        edited,
        unsigned,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("{}"),
        lambda path: path.write_bytes(b" " * (signatures.SIGNATURE_BYTES + 1)),
    ],
)
def test_a_damaged_signature_is_none(
    skill: Path, keys: tuple[Path, Path], damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    sign(signed_skill(skill), keys[0])
    damage(skill / SKILL_SIGNATURE)
    error = refused(lambda: signatures.verify(signed_skill(skill), keys[1]))
    assert (error.code, error.exit_code) == ("E_SIGNATURE_INVALID", 7) and SKILL_SIGNATURE in error.message
    assert capsys.readouterr().out == "", "stdout is data"


def test_a_signature_without_its_hint_says_so_on_stderr_only(
    skill: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sign(signed_skill(skill), keys[0])
    path = skill / SKILL_SIGNATURE
    told = json.loads(path.read_bytes())
    del told["verificationMaterial"]["publicKey"]["hint"]
    path.write_text(json.dumps(told), encoding="utf-8")
    assert signatures.verify(signed_skill(skill), keys[1]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "WARNING" in said.err


def test_another_key_a_missing_and_a_linked_signature_fail(
    hostile_dir: Path, skill: Path, keys: tuple[Path, Path]
) -> None:
    other = make_keys(hostile_dir / "other")
    assert refused(lambda: signatures.verify(signed_skill(skill), keys[1])).code == "E_SIGNATURE_MISSING"
    sign(signed_skill(skill), other[0])
    assert refused(lambda: signatures.verify(signed_skill(skill), keys[1])).code == "E_SIGNATURE_INVALID"
    (skill / SKILL_SIGNATURE).rename(hostile_dir / "elsewhere.sig")
    (skill / SKILL_SIGNATURE).symlink_to(hostile_dir / "elsewhere.sig")
    assert refused(lambda: signatures.verify(signed_skill(skill), other[1])).code == "E_SIGNATURE_MISSING"


def test_no_skill_can_have_the_signature_of_another(skill: Path, keys: tuple[Path, Path]) -> None:
    other = make_skill(skill.parent / "panels")
    for folder in (skill, other):
        sign(signed_skill(folder), keys[0])
    shutil.copy(other / SKILL_SIGNATURE, skill / SKILL_SIGNATURE)
    assert refused(lambda: signatures.verify(signed_skill(skill), keys[1])).code == "E_SIGNATURE_FILES"
    shutil.rmtree(skill)
    shutil.copytree(other, skill)
    assert refused(lambda: signatures.verify(signed_skill(skill), keys[1])).code == "E_SIGNATURE_MOVED"


@pytest.mark.parametrize("curve", ["SECP256R1", "SECP384R1", "SECP521R1"])
def test_each_curve_signs_and_a_second_signature_takes_the_place_of_the_first(
    hostile_dir: Path, skill: Path, curve: str
) -> None:
    for turn in ("first", "second"):
        private, public = make_keys(hostile_dir / turn, curve)
        sign(signed_skill(skill), private)
        assert signatures.verify(signed_skill(skill), public) == 2
    assert sorted(path.name for path in skill.iterdir()) == ["SKILL.md", "references", SKILL_SIGNATURE]


def test_what_is_no_key_is_refused_before_anything_is_written(hostile_dir: Path, skill: Path) -> None:
    private, public = make_keys(hostile_dir / "good")
    for key in (public, hostile_dir / "none.pem", skill / "SKILL.md", make_keys(hostile_dir / "ed", "Ed25519")[0]):
        assert refused(lambda key=key: sign(signed_skill(skill), key)).code == "E_SIGNATURE_KEY"  # type: ignore[misc]
    assert not (skill / SKILL_SIGNATURE).exists()
    sign(signed_skill(skill), private)
    for key in (private, hostile_dir / "none.pem", make_keys(hostile_dir / "curve", "SECP256K1")[1]):
        error = refused(lambda key=key: signatures.verify(signed_skill(skill), key))  # type: ignore[misc]
        assert (error.code, error.exit_code) == ("E_SIGNATURE_KEY", 2) and str(key) in error.message


def test_a_folder_that_can_not_be_written_to_keeps_its_old_signature(
    hostile_dir: Path, keys: tuple[Path, Path], skill: Path
) -> None:
    (skill / SKILL_SIGNATURE).mkdir()
    assert refused(lambda: sign(signed_skill(skill), keys[0])).code == "E_SKILL_WRITE"
    assert not list(skill.glob(".skill*"))


def test_the_library_itself_accepts_what_was_signed(skill: Path, keys: tuple[Path, Path]) -> None:
    sign(signed_skill(skill), keys[0])
    words = ["verify", "key", str(skill), "--signature", str(skill / SKILL_SIGNATURE), "--public_key", str(keys[1])]
    done = subprocess.run([sys.executable, "-m", "model_signing", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_folder_of_skills_and_a_package_are_signed_as_a_whole(
    hostile_dir: Path, skill: Path, keys: tuple[Path, Path]
) -> None:
    make_skill(skill.parent / "panels")
    assert [item.folder.name for item in signed_folders(skill.parent)] == ["boards", "panels"]
    (skill.parent / "loose.txt").write_text("x", encoding="utf-8")
    assert refused(lambda: signed_folders(skill.parent)).code == "E_SIGNATURE_FILES"
    assert refused(lambda: signed_folders(hostile_dir / "keys")).code == "E_SIGNATURE_TARGET"
    made = write_package(hostile_dir / "package").folder
    for item in signed_folders(made):
        sign(item, keys[0])
    for item in signed_folders(made):
        assert signatures.verify(item, keys[1])
    assert [item.file for item in signed_folders(made)] == [SKILL_SIGNATURE] * 4 + [BANK_SIGNATURE]
    (made / "zips/run-automl.zip").write_bytes(b"PK")
    error = refused(lambda: signatures.verify(signed_folders(made)[-1], keys[1]))
    assert error.details == ("changed: zips/run-automl.zip",)


def test_a_bank_with_links_and_its_copy_without_have_one_signature(
    copied_bank: Path, hostile_dir: Path, keys: tuple[Path, Path]
) -> None:
    count = sign(signed_bank(copied_bank), keys[0])
    plain = hostile_dir / "installed"
    shutil.copytree(copied_bank, plain, symlinks=False)
    assert signatures.verify(signed_bank(plain), keys[1]) == signatures.verify(signed_bank(copied_bank), keys[1])
    assert count > 100
    (copied_bank / ".git/HEAD").write_text("y", encoding="utf-8")
    (copied_bank / "notes.txt").write_text("y", encoding="utf-8")
    signatures.verify(signed_bank(copied_bank), keys[1])


def relink(name: str, target: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).unlink()
        (root / name).symlink_to(target)

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (write("references/visual_changenet/skill_info.yaml", "x"), "E_SIGNATURE_FILES"),
        (write("constraints.txt", "x"), "E_SIGNATURE_FILES"),
        (lambda root: (root / "constraints.txt").unlink(), "E_SIGNATURE_FILES"),
        (lambda root: (root / "schemas/visual_changenet/train.schema.json").unlink(), "E_SIGNATURE_LINK"),
        (relink("skills/visual-changenet/references/spec_template_train.yaml", "../SKILL.md"), "E_SIGNATURE_FILES"),
        (relink("skills/visual-changenet/schemas/train.schema.json", "../../../.git/HEAD"), "E_SIGNATURE_LINK"),
        (relink("skills/visual-changenet/schemas/train.schema.json", "../../../../keys/own.pem"), "E_SIGNATURE_LINK"),
        (relink("skills/visual-changenet/schemas/train.schema.json", "nowhere"), "E_SIGNATURE_LINK"),
        (relink("skills/visual-changenet/schemas/train.schema.json", ".."), "E_SIGNATURE_LINK"),
        (relink("skills/visual-changenet/schemas/train.schema.json", "train.schema.json"), "E_SIGNATURE_LINK"),
    ],
)
def test_a_changed_bank_fails(
    copied_bank: Path, keys: tuple[Path, Path], change: Callable[[Path], object], code: str
) -> None:
    sign(signed_bank(copied_bank), keys[0])
    change(copied_bank)
    assert refused(lambda: signatures.verify(signed_bank(copied_bank), keys[1])).code == code


def test_a_skill_with_links_out_of_it_is_not_signed(copied_bank: Path, keys: tuple[Path, Path]) -> None:
    error = refused(lambda: sign(signed_skill(copied_bank / "skills/visual-changenet"), keys[0]))
    assert error.code == "E_SIGNATURE_LINK" and error.fix.endswith("skillrun skills package")


def run_in(root: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command line, of a bank that lies in another place: the package is found beside it."""
    code = "from skillrun.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=root.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "runner"), *_site()]), **variables},
    )


def _site() -> Sequence[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


@pytest.fixture
def installed(copied_bank: Path) -> Path:
    """The bank with a runner of its own."""
    source = bank.bank_root() / "runner"
    shutil.copytree(source, copied_bank / "runner", ignore=shutil.ignore_patterns("__pycache__"))
    return copied_bank


def test_an_unverified_bank_is_not_loaded_and_the_mending_command_still_runs(
    installed: Path, keys: tuple[Path, Path]
) -> None:
    demanded = {VARIABLE: "keys/pub.pem"}
    sign(signed_bank(installed), keys[0])
    good = run_in(installed, "skills", "list", "--json", **demanded)
    assert good.returncode == 0
    shown = json.loads(run_in(installed, "skills", "show", "run-automl", "--json", **demanded).stdout)
    assert shown["folder"] == str(installed / "skills/run-automl")
    (installed / "references/versions.yaml").write_text("x", encoding="utf-8")
    bad = run_in(installed, "skills", "list", "--json", **demanded)
    error = json.loads(bad.stdout)["error"]
    assert (bad.returncode, error["code"]) == (3, "E_BANK_UNVERIFIED")
    assert "changed: references/versions.yaml" in error["message"]
    assert error["fix"].startswith(f"{VARIABLE}= skillrun skills verify ")
    mended = run_in(installed, "skills", "verify", str(installed), "--key", str(keys[1]), "--json", **{VARIABLE: ""})
    assert (mended.returncode, json.loads(mended.stdout)["error"]["code"]) == (7, "E_SIGNATURE_FILES")


def test_a_demand_without_a_signature_or_a_key_loads_nothing(
    installed: Path, keys: tuple[Path, Path], hostile_dir: Path
) -> None:
    for key in (keys[1], hostile_dir / "none.pem"):
        done = run_in(installed, "--version", **{VARIABLE: str(key)})
        assert done.returncode == 3 and "E_BANK_UNVERIFIED" in done.stderr and not done.stdout


def test_without_the_extra_a_demand_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "model_signing" else real(name))
    error = refused(signatures.need_library)
    assert (error.code, error.exit_code) == ("E_EXTRA_MISSING", 8) and error.fix == 'pip install "skillrun[sign]"'


def test_the_demand_is_verified_once_a_process_and_inherited(
    copied_bank: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, hostile_dir: Path
) -> None:
    sign(signed_bank(copied_bank), keys[0])
    monkeypatch.chdir(hostile_dir)
    monkeypatch.setenv(VARIABLE, "keys/pub.pem")
    signatures.demand(copied_bank)
    assert os.environ[VARIABLE] == str(keys[1].resolve()), "processes that start elsewhere find the key too"


@pytest.mark.parametrize(
    ("words", "left", "key"),
    [
        (["--require-signed", "p.pem", "runs", "list"], ["runs", "list"], "p.pem"),
        (["--require-signed=p.pem", "runs"], ["runs"], "p.pem"),
        (["--json", "--require-signed", "p.pem", "runs"], ["--json", "runs"], "p.pem"),
        (["runs", "--require-signed", "p.pem"], ["runs", "--require-signed", "p.pem"], ""),
        (["--require-signed"], ["--require-signed"], ""),
        (["--require-signed=", "runs"], ["--require-signed=", "runs"], ""),
        ([], [], ""),
    ],
)
def test_the_root_option_is_taken_from_before_the_command(words: list[str], left: list[str], key: str) -> None:
    assert skills_trust.taken(words) == (left, key)
