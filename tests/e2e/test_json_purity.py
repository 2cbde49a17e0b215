"""Every command, once as it should go and once refused: with ``--json`` stdout is one document and nothing else."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from skillrun import bank
from skillrun.cli.app import build
from skillrun.data.synth import synth

Done = subprocess.CompletedProcess
PROGRAM = str(Path(sys.executable).with_name("skillrun"))
ESCAPE = "\x1b"
LIMIT_S = 150.0  # a command that has not ended by then waits for something
# What asks programs for colours, although nobody looks at them here.
LOUD = {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TERM": "xterm-256color", "TTY_COMPATIBLE": "1", "PY_COLORS": "1"}

MODEL = "model.backbone.type=fan_tiny_8_p4_hybrid model.decode_head.decoder_params.embed_dim=16 train.threads=1"
QUICK = f"{MODEL} train.tensorboard.enabled=false model.backbone.pretrained_backbone_path=null"
SIZE = "dataset.classify.image_width=32 dataset.classify.image_height=32 dataset.classify.workers=0 batch_size=4"
DATA = "--train-data {boards}/train --eval-data {boards}/eval"
SEGMENT = "segment_img_size=64 segment_batch_size=4 segment_workers=0 num_epochs=1"
INFER = "dataset.classify.infer_dataset"
PAIRS = f"{INFER}.csv_path={{boards}}/eval/dataset.csv {INFER}.images_dir={{boards}}/eval/images"
NO_ENGINE, NO_TENSORRT = "# needs a container engine", "# needs TensorRT"

# What is typed after a command: where it succeeds (or "# why that can not be had on every host"), and where it is
# refused. {…} are places in `Ground.places`.
TABLE: dict[str, tuple[str, str]] = {
    "tools": ("call skillrun_list_runs {{}}", "call nothing"),
    "mcp": ("# stdout belongs to the protocol, tested with it", "--port x"),
    "stage": ("{weights}", "{folder}/none.pth"),
    "parents": ("{trained}", "nobody"),
    "card": ("{trained}", "nobody"),
    "threshold": ("{measured} --max-overkill 50%", "{measured} --max-overkill much"),
    "doctor": ("", "--workspace"),
    "explain": ("E_DATA_CSV_BOM", "E_NOTHING_LIKE_IT"),
    "report": ("{trained} --open", "compare {trained}"),
    "visual_changenet train": (f"--no-automl {DATA} {QUICK} {SIZE} num_epochs=1", f"--no-automl {DATA} num_epohcs=1"),
    "visual_changenet segment_train": (
        f"--no-automl --train-data {{masks}} --eval-data {{masks}} {QUICK} {SEGMENT}",
        "--no-automl --train-data {boards}/train --eval-data {masks}",
    ),
    "visual_changenet evaluate": ("--parent {trained} --eval-data {boards}/eval", "--parent nobody"),
    "visual_changenet segment_evaluate": ("--parent {segmented} --eval-data {masks} --dry-run", "--parent {trained}"),
    "visual_changenet inference": ("--parent {trained} --infer-data {boards}/eval --dry-run", "--parent nobody"),
    "visual_changenet segment_inference": ("--parent {segmented} --infer-data {masks} --explain", "--parent nobody"),
    "visual_changenet export": ("--parent {trained} --check", "--parent {trained} --backend moon"),
    "visual_changenet segment_export": ("--parent {segmented} --dry-run", "--parent nobody"),
    "visual_changenet quantize": (
        "--parent {trained} --calibration-data {boards}/eval --dry-run",
        "--parent {trained} --calibration-data {folder}",
    ),
    "visual_changenet segment_quantize": (
        "--parent {segmented} --calibration-data {boards}/eval --dry-run",
        "--parent {segmented} --gpus many",
    ),
    "visual_changenet gen_trt_engine": (NO_TENSORRT, "--parent nobody"),
    "visual_changenet trt_evaluate": (NO_TENSORRT, "--parent {trained} --eval-data {boards}/eval"),
    "visual_changenet trt_inference": (NO_TENSORRT, "--parent nobody"),
    "visual_changenet predict": (
        "--model {trained} --golden {golden} --test {golden}",
        "--model {weights} --golden {golden} --test {golden}",
    ),
    "visual_changenet schema": ("train", "fly"),
    "visual_changenet template": ("segment_train", "fly"),
    "visual_changenet spec": ("train num_epochs=3", "train train.optim.lr=banana"),
    "runs list": ("", "--limit 0"),
    "runs show": ("{trained}", "nobody"),
    "runs logs": ("{trained} --follow", "nobody"),
    "runs attach": ("{trained}", "nobody"),
    "runs upload": ("{trained} file://{folder}/store", "{trained} moon://a/b"),
    "runs stop": ("{spare}", "nobody"),
    "runs resume": ("{spare} --detach", "{trained}"),
    "runs rm": ("{spare} --yes", "{trained}"),
    "automl list": ("", "--workspace"),
    "automl status": ("{study}", "nobody"),
    "automl resume": ("{study}", "nobody"),
    "automl extend": ("{study} --trials 1", "{study}"),
    "automl best": ("{study}", "nobody"),
    "automl export": ("{study} --out {folder}/taken", "{study} --out {weights}"),
    "data synth": ("--out {folder}/drawn --pairs 8 --size 32", "--out {boards}"),
    "data convert": ("folders {two} {folder}/converted", "folders {boards} {folder}/never"),
    "data split": ("{boards}/train {folder}/divided", "{boards}/train {folder}/never --fraction much"),
    "data align": ("{boards}/eval {folder}/aligned", "{folder}/none {folder}/never"),
    "data fix": ("{boards}/eval {folder}/mended", "{folder}/none {folder}/never"),
    "data check": ("{boards}", "{folder}/none"),
    "images list": ("", "surplus"),
    "images build": (NO_ENGINE, "--wheelhouse {folder}/none"),
    "bundle create": (
        "--out {folder}/new.bundle --weights {weights} --no-image --no-wheels",
        "--out {folder}/new2.bundle --weights {folder}/none --no-image --no-wheels",
    ),
    "bundle load": ("{bundle} --into {folder}/wheels", "{weights}"),
    "bundle show": ("{bundle}", "{weights}"),
    "skills list": ("", "surplus"),
    "skills show": ("visual-changenet", "nobody"),
    "skills validate": ("{skill}", "{folder}/none"),
    "skills package": ("--out {folder}/packed", "--out {weights}"),
    "skills install": ("--agent codex --dir {folder}/project", "nobody --agent codex --dir {folder}/project"),
    "skills sign": ("{folder}/packed --key {folder}/own.pem", "{two} --key {folder}/own.pem"),
    "skills verify": ("{folder}/packed --key {folder}/public.pem", "{folder}/packed --key {weights}"),
    "bank generate": ("--root {copy}", "--root {weights}"),
    "bank check": ("--root {copy}", "--root {drifted}"),
    "model visual_changenet train": ("-e {trained_spec} --dry-run", "-e {folder}/none.yaml"),
    "model visual_changenet evaluate": ("-e {measured_spec} --dry-run", "-e {measured_spec} evaluate.checkpoint=/none"),
    "model visual_changenet inference": (
        f"-e {{measured_spec}} inference.checkpoint={{checkpoint}} {PAIRS} --dry-run",
        "-e {measured_spec} inference.checkpoint=/none",
    ),
    "model visual_changenet export": (
        "-e {measured_spec} export.checkpoint={checkpoint} --dry-run",
        "-e {measured_spec} key",
    ),
    "model visual_changenet quantize": (
        "-e {measured_spec} quantize.model_path={checkpoint} "
        "dataset.classify.quant_calibration_dataset.images_dir={boards}/eval/images --dry-run",
        "-e {folder}/none.yaml",
    ),
    "deploy visual_changenet gen_trt_engine": (NO_TENSORRT, "-e {folder}/none.yaml"),
    "deploy visual_changenet evaluate": (NO_TENSORRT, "-e {folder}/none.yaml"),
    "deploy visual_changenet inference": (NO_TENSORRT, "-e {folder}/none.yaml"),
}
# Commands that go in this order, because one makes what the next needs; the rest goes in any.
ROWS = (
    ("visual_changenet train", "visual_changenet evaluate"),
    ("visual_changenet segment_train",),
    ("bank generate", "bank check"),
    ("runs stop", "runs resume", "runs rm"),
    ("automl resume", "automl extend"),
    ("skills package", "skills sign", "skills verify"),
)


def make_keys(own: Path, public: Path) -> None:
    """A pair of keys to sign with."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    pem, plain = form.Encoding.PEM, form.NoEncryption()
    own.write_bytes(key.private_bytes(pem, form.PrivateFormat.PKCS8, plain))
    public.write_bytes(key.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo))


@dataclass
class Ground:
    """A workspace with everything that the table names, and what every command answered there.

    Attributes:
        places: what stands for ``{…}``.
        done: (command, whether it should succeed) -> how it ended.
    """

    folder: Path
    places: dict[str, str] = field(default_factory=dict)
    done: dict[tuple[str, bool], Done[str]] = field(default_factory=dict)

    def type(self, *words: str, stdin: int = subprocess.DEVNULL, **more: str) -> Done[str]:
        """``skillrun …`` as a program starts it that wants colours; a pipe of stdin stays open and brings nothing."""
        own = {"SKILLRUN_WORKSPACE": str(self.folder), "SKILLRUN_CACHE": str(self.folder / "cache")}
        env = {**os.environ, "PYTHONWARNINGS": "ignore", "HOME": str(self.folder), **own, **LOUD, **more}
        env.pop("NO_COLOR", None)
        told = {"stdin": stdin, "capture_output": True, "text": True, "timeout": LIMIT_S, "check": False}
        return subprocess.run([PROGRAM, *words], cwd=self.folder, env=env, **told)  # type: ignore[call-overload,no-any-return]

    def play(self, command: str, succeeds: bool) -> None:
        """One side of one command; stdin is a pipe that never ends where it should succeed, else nothing."""
        text = TABLE[command][0 if succeeds else 1]
        if (command, succeeds) in self.done or text.startswith("#"):
            return
        words = [*command.split(), "--json", *(word.format(**self.places) for word in text.split())]
        reading, writing = os.pipe()
        try:
            self.done[command, succeeds] = self.type(*words, stdin=reading if succeeds else subprocess.DEVNULL)
        finally:
            os.close(reading)
            os.close(writing)

    def answer(self, command: str) -> dict[str, Any]:
        """What a command that succeeded said."""
        self.play(command, True)
        result = self.done[command, True]
        assert result.returncode == 0, f"{command}: {result.stderr}"
        return dict(json.loads(result.stdout))

    def begin(self) -> None:
        """Data, and small files of all kinds."""
        root, name = bank.bank_root(), self.places
        name |= {key: str(self.folder / key) for key in ("boards", "masks", "two", "copy", "drifted", "bundle")}
        name |= {"folder": str(self.folder), "weights": str(self.folder / "w.pth"), "bundle": str(self.folder / "b")}
        synth(self.folder / "boards", pairs=12, size=32, seed=5)
        synth(self.folder / "masks", pairs=8, size=64, seed=5, task="segment")
        (self.folder / "w.pth").write_bytes(b"no weights")
        golden = next((self.folder / "boards/eval/images").rglob("*.png"))
        name |= {"golden": str(golden), "skill": str(root / "skills" / "visual-changenet")}
        for place in ("golden", "test/good", "test/bad"):
            (self.folder / "two" / place).mkdir(parents=True)
        for number in range(8):
            for place in ("golden", f"test/{'good' if number % 2 else 'bad'}"):
                shutil.copy(golden, self.folder / "two" / place / f"p{number}.png")
        for copied in ("copy", "drifted"):
            for part in ("schemas", "references", "skills", "docs"):
                shutil.copytree(root / part, self.folder / copied / part)
        next((self.folder / "drifted/schemas").rglob("train.schema.json")).write_text("{}", encoding="utf-8")
        make_keys(self.folder / "own.pem", self.folder / "public.pem")
        self.type("bundle", "create", "--out", "b", "--weights", "w.pth", "--no-image", "--no-wheels")

    def train(self) -> None:
        """A finished training of each task, one that was just begun, an evaluation and a study."""
        trained = self.answer("visual_changenet train")["run"]
        self.places |= {"trained": trained["run_id"], "trained_spec": f"{trained['run_dir']}/spec.yaml"}
        self.places["checkpoint"] = str(next(Path(trained["run_dir"]).rglob("model_epoch_*.pth")).resolve())
        self.places["segmented"] = self.answer("visual_changenet segment_train")["run"]["run_id"]
        measured = self.answer("visual_changenet evaluate")["run"]
        self.places |= {"measured": measured["run_id"], "measured_spec": f"{measured['run_dir']}/spec.yaml"}

    def search(self) -> None:
        """A study of one trial, and a training that is on its way."""
        data = [word.format(**self.places) for word in f"{DATA} {QUICK} {SIZE} --json".split()]
        once = ("visual_changenet", "train", "--automl", "--yes", "--trials", "1", "num_epochs=1")
        self.done["search", True] = self.type(*once, *data)
        self.places["study"] = next((self.folder / "studies").iterdir()).name
        begun = self.type("visual_changenet", "train", "--no-automl", "--detach", "num_epochs=400", *data)
        self.done["detached", True] = begun
        self.places["spare"] = json.loads(begun.stdout)["run_id"]

    def row(self, commands: tuple[str, ...]) -> None:
        for command in commands:
            if command == "runs rm":
                self.type("runs", "stop", self.places["spare"])
            self.play(command, True)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """All sides of all commands, two at a time."""
    made = Ground(tmp_path_factory.mktemp("ground"))
    made.begin()
    with ThreadPoolExecutor(2) as pool:
        for waited in [pool.submit(made.train), pool.submit(made.search)]:
            waited.result()
    alone = [(command,) for command in TABLE if not any(command in row for row in ROWS)]
    with ThreadPoolExecutor(2) as pool:
        # Refusals first: some of what they name is gone after the successes.
        list(pool.map(lambda command: made.play(command, False), TABLE))
        list(pool.map(made.row, [*ROWS, *alone]))
    yield made
    made.type("runs", "stop", made.places["spare"])


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, below in getattr(command, "commands", {}).items():
        yield from leaves(below, (*path, name))
    if not hasattr(command, "commands"):
        yield " ".join(path), command


LEAVES = dict(leaves(get_command(build())))


def document(result: Done[str]) -> dict[str, Any]:
    """The one document on stdout; neither stream has an escape code."""
    assert ESCAPE not in result.stdout + result.stderr
    told: dict[str, Any] = json.loads(result.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert told["schema_version"] == 1
    assert "Traceback" not in result.stderr
    return told


def test_the_table_names_every_command() -> None:
    assert set(TABLE) == set(LEAVES), "say how a new command succeeds and how it is refused"


@pytest.mark.parametrize("command", LEAVES)
def test_every_command_has_the_option(command: str) -> None:
    assert "--json" in [option for parameter in LEAVES[command].params for option in parameter.opts]


@pytest.mark.parametrize("command", TABLE)
def test_a_command_that_succeeds_writes_one_document(command: str, ground: Ground) -> None:
    if TABLE[command][0].startswith("#"):
        pytest.skip(TABLE[command][0])
    result = ground.done[command, True]
    assert result.returncode == 0, result.stderr
    assert "error" not in document(result)


@pytest.mark.parametrize("what", ["search", "detached"])
def test_a_search_and_a_training_that_goes_on_alone_write_one_document(what: str, ground: Ground) -> None:
    assert "error" not in document(ground.done[what, True])


@pytest.mark.parametrize("command", TABLE)
def test_a_command_that_is_refused_writes_one_document_and_says_why(command: str, ground: Ground) -> None:
    result = ground.done[command, False]
    told = document(result)
    if command == "bank check":
        assert (result.returncode, told["ok"]) == (11, False)
        assert "error[E_BANK_DRIFT]" in result.stderr
        return
    error = told["error"]
    assert result.returncode == error["exit_code"] != 0
    assert error["message"] and error["fix"]
    assert f"error[{error['code']}]: " in result.stderr and f"fix: {error['fix']}" in result.stderr


@pytest.mark.parametrize("words", ["runs list", "images list", "explain", "doctor", "runs show {trained}", "runs lst"])
def test_no_colours_are_written_where_nobody_looks(words: str, ground: Ground) -> None:
    result = ground.type(*(word.format(**ground.places) for word in words.split()))
    assert result.stdout + result.stderr
    assert ESCAPE not in result.stdout + result.stderr


def test_a_program_that_refuses_is_heard_with_its_own_code(ground: Ground) -> None:
    error = document(ground.done["visual_changenet predict", False])["error"]
    assert (error["code"], error["exit_code"]) == ("E_CHECKPOINT_INVALID", 7)


def test_a_browser_of_the_terminal_neither_writes_to_stdout_nor_reads(ground: Ground) -> None:
    browser = ground.folder / "browser"
    browser.write_text(f"#!/bin/sh\necho a page\ncat\ntouch '{ground.folder}/seen'\n", encoding="utf-8")
    browser.chmod(0o755)
    reading, writing = os.pipe()
    words = ("report", ground.places["trained"], "--open", "--json")
    told = document(ground.type(*words, stdin=reading, BROWSER=str(browser)))
    os.close(reading)
    os.close(writing)
    assert told["page"].endswith(".html")
    assert (ground.folder / "seen").exists()


def test_an_answer_of_no_on_a_terminal_is_an_error_like_others(ground: Ground) -> None:
    master, terminal = pty.openpty()
    os.write(master, b"n\n")
    result = ground.type("runs", "rm", ground.places["trained"], "--json", stdin=terminal)
    os.close(master)
    os.close(terminal)
    error = document(result)["error"]
    assert (result.returncode, error["code"]) == (2, "E_CONFIRM")
    assert error["fix"] == f"skillrun runs rm {ground.places['trained']} --json --yes"


def test_without_a_terminal_nothing_is_asked(ground: Ground) -> None:
    error = document(ground.done["runs rm", False])["error"]
    assert error["code"] == "E_CONFIRM"


def test_numbers_that_json_does_not_know_are_null(ground: Ground) -> None:
    ground_run = Path(ground.places["trained_spec"]).parent
    copied = ground.folder / "odd" / "runs" / ground_run.name
    shutil.copytree(ground_run, copied, symlinks=True)
    result = json.loads((copied / "result.json").read_text(encoding="utf-8"))
    result["metrics"]["val_ap"] = float("nan")
    (copied / "result.json").write_text(json.dumps(result), encoding="utf-8")
    told = document(ground.type("runs", "show", "last", "--json", "--workspace", str(ground.folder / "odd")))
    assert told["run"]["metrics"]["val_ap"] is None
