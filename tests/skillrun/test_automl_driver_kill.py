"""A driver and its trials, killed with SIGKILL at random moments: real processes, nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from skillrun.automl.budget import Budget, Clock
from skillrun.automl.driver import Driver
from skillrun.automl.ledger import Ledger, Row, rows
from skillrun.automl.param import Param
from skillrun.automl.settings import Settings
from skillrun.automl.space import Space
from skillrun.automl.trainer import Epoch, Look, State, Wish
from skillrun.prepare import Request

pytest.importorskip("optuna")

FORK = multiprocessing.get_context("fork")
KILLS = 20
TRIALS, EPOCHS = 16, 3
SPACE = Space(
    (
        Param("train.optim.lr", "float", 1e-5, 1e-6, 1e-2, log=True),
        Param("model.classify.eval_margin", "float", 0.3, 0.05, 0.95),
        Param("model.classify.learnable_difference_modules", "int", 4, 1, 4),
    )
)
# A training: an epoch is a line of epochs.txt; it goes on where it stopped, and leaves the file ``exit`` at its end.
TRAINING = """
import os, sys, time
folder = sys.argv[1]
if os.fork():
    os._exit(0)
os.setsid()
with open(folder + "/pid.new", "w") as stream:
    stream.write(str(os.getpid()))
os.rename(folder + "/pid.new", folder + "/pid")
with open(folder + "/epochs.txt", "a+") as stream:
    stream.seek(0)
    done = len(stream.read().splitlines())
    for epoch in range(done + 1, int(sys.argv[2]) + 1):
        time.sleep(0.04)
        stream.write(f"{epoch}\\n")
        stream.flush()
open(folder + "/exit", "w").close()
"""


class Processes:
    """A trainer whose trainings are processes of their own session, as those of the local backend are."""

    def __init__(self, root: Path, slots: int) -> None:
        self.root, self.slots = root / "runs", slots
        self.held: dict[str, int] = {}
        self.wishes: dict[str, Wish] = {}

    def free(self) -> bool:
        return len(self.held) < self.slots

    def plan(self, wish: Wish) -> str:
        run_id = f"{wish.number}-{secrets.token_hex(3)}"
        self.wishes[run_id] = wish
        return run_id

    def start(self, run_id: str) -> None:
        folder, wish = self.root / run_id, self.wishes.pop(run_id)
        folder.mkdir(parents=True)
        (folder / "values.json").write_text(json.dumps(dict(wish.values)), encoding="utf-8")
        self.go_on(run_id)

    def go_on(self, run_id: str) -> None:
        (self.root / run_id / "pid").unlink(missing_ok=True)
        command = [sys.executable, "-S", "-c", TRAINING, str(self.root / run_id), str(EPOCHS)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        self.held.setdefault(run_id, 0)

    def look(self, run_id: str) -> Look:
        folder = self.root / run_id
        if not folder.is_dir():
            return Look("absent")
        state = self._state(folder)
        if state == "absent":
            shutil.rmtree(folder)
            return Look("absent")
        seen = self.held.setdefault(run_id, 0)
        path = folder / "epochs.txt"
        done = len(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else 0
        self.held[run_id] = done
        values = json.loads((folder / "values.json").read_text(encoding="utf-8"))
        told = tuple(Epoch(epoch, values["model.classify.eval_margin"] * epoch) for epoch in range(seen + 1, done + 1))
        return Look(state, told, done, message="killed")

    def stop(self, run_id: str) -> None:
        raise AssertionError("nothing stops here")

    def smaller_batch(self, run_id: str) -> int:
        return 0

    def done(self, run_id: str) -> None:
        self.held.pop(run_id, None)

    @staticmethod
    def _state(folder: Path) -> State:
        if (folder / "exit").exists():
            return "succeeded"
        for _ in range(100):  # a process that was just started notes its number at once
            if (folder / "pid").exists():
                alive = Path(f"/proc/{(folder / 'pid').read_text(encoding='utf-8')}").exists()
                return "running" if alive else "succeeded" if (folder / "exit").exists() else "lost"
            if not any(str(folder).encode() in _words(place) for place in Path("/proc").glob("[0-9]*/cmdline")):
                return "running" if (folder / "pid").exists() else "absent"
            time.sleep(0.02)
        return "absent"


def _words(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []


def settings(algorithm: str, seed: int) -> Settings:
    return Settings(
        "study",
        "now",
        "/",
        Request("visual_changenet", "train"),
        "train",
        "classify",
        SPACE,
        algorithm,
        seed,
        Budget(trials=TRIALS),
        "val_ap",
        "maximize",
        EPOCHS,
    )


def drive(root: Path, decided: Settings, slots: int) -> None:
    ledger = Ledger(root / "journal.log", decided)
    Driver(decided, ledger, Processes(root, slots), Clock(root / "clock.json"), lambda line: None, poll_s=0.01).run()


def driven(root: Path, decided: Settings, slots: int, kills: int, dice: random.Random) -> tuple[list[Row], int]:
    """Drive to the end; so many times the driver or a trial is killed on the way. The trials, and the kills."""
    root.mkdir()
    done = 0
    while True:
        driver = FORK.Process(target=drive, args=(root, decided, slots))
        driver.start()
        while driver.is_alive() and done < kills:
            driver.join(dice.uniform(0.01, 0.4))
            if not driver.is_alive():
                break
            done += _kill_one(driver, root, dice)
        driver.join(60)
        if driver.exitcode == 0:
            return rows(Ledger(root / "journal.log", decided).trials()), done
        assert driver.exitcode == -signal.SIGKILL


def _kill_one(driver: multiprocessing.process.BaseProcess, root: Path, dice: random.Random) -> int:
    trials = [path for path in root.glob("runs/*/pid") if not (path.parent / "exit").exists()]
    if trials and dice.random() < 0.5:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(dice.choice(trials).read_text(encoding="utf-8")), signal.SIGKILL)
            return 1
        return 0
    driver.kill()
    driver.join()
    return 1


@pytest.mark.parametrize(("algorithm", "slots"), [("random", 2), ("bayesian", 1)])
def test_no_trial_is_lost_or_counted_twice_by_twenty_kills(tmp_path: Path, algorithm: str, slots: int) -> None:
    dice = random.Random(f"{algorithm} {slots}")
    done, study = 0, 0
    while done < KILLS:
        study += 1
        decided = settings(algorithm, study)
        straight, _ = driven(tmp_path / f"straight-{study}", decided, slots, 0, dice)
        killed, more = driven(tmp_path / f"killed-{study}", decided, slots, KILLS - done, dice)
        done += more
        assert [row.number for row in killed] == list(range(TRIALS))
        assert sorted(map(str, (row.values for row in killed))) == sorted(map(str, (row.values for row in straight)))
        survivors = [row for row in killed if row.state == "complete"]
        assert {row.cause for row in killed if row.state == "failed"} <= {"lost again and again"}
        for row in survivors:
            margin = row.values["model.classify.eval_margin"]
            assert row.value == pytest.approx(float(str(margin)) * EPOCHS)
        told = Counter(
            (line["trial_id"])
            for line in map(json.loads, (tmp_path / f"killed-{study}/journal.log").read_text("utf-8").splitlines())
            if "trial_id" in line and line.get("state") in (1, 2, 3)
        )
        assert dict(told) == dict.fromkeys(range(TRIALS), 1)
        assert {row.run_id for row in killed} == {path.name for path in (tmp_path / f"killed-{study}/runs").iterdir()}
    sys.stderr.write(f"{algorithm}: {done} kills over {study} studies\n")
