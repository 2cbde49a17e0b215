"""What skillrun adds to a container: ``skillrun visual_changenet train`` against a bare ``docker run``.

Run: ``python benchmarks/launch.py`` (about two minutes on two cores), ``--repeats 15`` for more. Both ways run the same
image and command with the same mounts, limits and spec, by turns; every run has a run folder of its own. Timed is the
whole command, from the start of the process to its end: the bare one is the line that ``--dry-run`` prints, with
``--rm``; the other also reads the data set, plans, keeps the log and the result, and follows the progress. First a
training of one epoch, then a command that ends at once, where nothing hides the difference. ``more`` and ``ratio`` are
medians over neighbours, because a machine is not equally busy all the time. The engine's own events split the time of
both. Needs an engine and the CPU image: ``skillrun images build train --cpu``.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import Timing, measure, show, summary

from skillrun import images
from skillrun.backends.docker_request import RUN_LABEL
from skillrun.data.synth import synth
from skillrun.engine import connect
from skillrun.errors import SkillrunError

if TYPE_CHECKING:
    from docker import DockerClient

BAR = 1.3
REPEATS = 7
# skillrun may be back before the engine has removed the container.
EVENTS_WITHIN_S = 10
SKILLRUN = str(Path(sys.executable).with_name("skillrun"))
IMAGE = images.resolve("skillrun.visual_changenet_train", cpu=True).reference
SHORT_IMAGE = "skillrun-bench-short:local"
# It does nothing but what every command has to do: leave a result.
SHORT_COMMAND = """#!/bin/sh
echo '{"status": "succeeded", "action": "train"}' >"$SKILLRUN_RUN_DIR/result.json"
"""
SHORT_DOCKERFILE = f"""FROM {IMAGE}
USER 0:0
COPY visual_changenet /opt/venv/bin/visual_changenet
RUN chmod 755 /opt/venv/bin/visual_changenet
"""
TINY = (
    "model.backbone.type=fan_tiny_8_p4_hybrid",
    "model.decode_head.decoder_params.embed_dim=16",
    "dataset.classify.image_width=32",
    "dataset.classify.image_height=32",
    "dataset.classify.workers=0",
    "batch_size=4",
    "num_epochs=1",
    "train.threads=1",
    "train.tensorboard.enabled=false",
)
# Where a launch spends its time, by the engine's events.
PHASES = (
    ("before the container is made", "begin", "create"),
    ("made, not yet running", "create", "start"),
    ("the command itself", "start", "die"),
    ("ended, not yet removed", "die", "destroy"),
    ("removed, until the shell is back", "destroy", "end"),
)


@dataclass(frozen=True)
class Launch:
    """One run: seconds since 1970 of its process's begin and end, and of what the engine saw between."""

    at: dict[str, float]

    def milliseconds(self, begin: str = "begin", end: str = "end") -> float:
        """Time between two of these moments."""
        return (self.at[end] - self.at[begin]) * 1000


@dataclass(frozen=True)
class Bench:
    """A workspace with boards, the engine, and the Docker command."""

    folder: Path
    client: DockerClient
    docker: str

    def request(self, image: str) -> list[str]:
        """The command line of a training in an image."""
        data = [f"--{name}-data={self.folder / 'boards' / name}" for name in ("train", "eval")]
        place = ["--backend=docker", f"--image={image}", "--gpus=none", f"--workspace={self.folder}"]
        return [SKILLRUN, "visual_changenet", "train", "--no-automl", *data, *TINY, *place]

    def plan(self, image: str) -> dict[str, Any]:
        """What ``--dry-run`` answers."""
        done = subprocess.run([*self.request(image), "--dry-run", "--json"], capture_output=True, text=True, check=True)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def bare(self, image: str) -> Launch:
        """The printed line by hand, in a run folder made as skillrun makes it; making it is not timed."""
        said = self.plan(image)
        folder = Path(said["plan"]["run_dir"])
        (folder / "results").mkdir(parents=True)
        (folder / "spec.container.yaml").write_text(said["plan"]["container_spec_text"], encoding="utf-8")
        program, verb, *words = shlex.split(said["request"]["docker_run"])
        assert (program, verb) == ("docker", "run")
        begin, end = timed([self.docker, verb, "--rm", *words])
        return self._seen(begin, end, folder)

    def ours(self, image: str) -> Launch:
        """The whole of skillrun in the foreground."""
        begin, end = timed(self.request(image))
        return self._seen(begin, end, max((self.folder / "runs").iterdir(), key=lambda run: run.stat().st_ctime))

    def _seen(self, begin: float, end: float, run: Path) -> Launch:
        """Add the engine's events up to the removal of the container, and remove the run folder."""
        asked: dict[str, Any] = {"since": f"{begin:.6f}", "until": f"{time.time() + EVENTS_WITHIN_S:.6f}"}
        events = self.client.events(**asked, filters={"label": f"{RUN_LABEL}={run.name}"}, decode=True)
        moments = {}
        for event in events:
            moments[str(event["Action"])] = event["timeNano"] / 1e9
            if event["Action"] == "destroy":
                break
        events.close()
        shutil.rmtree(run)
        return Launch({"begin": begin, "end": end, **moments})


def timed(argv: Sequence[str]) -> tuple[float, float]:
    """Begin and end of a command, seconds since 1970; raises CalledProcessError with its output where it fails."""
    begin = time.time()
    subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return begin, time.time()


def by_turns(bench: Bench, image: str, repeats: int) -> tuple[list[Launch], list[Launch]]:
    """Bare and skillrun's runs, one after the other, after one of each that does not count."""
    pairs = [(bench.bare(image), bench.ours(image)) for _ in range(repeats + 1)][1:]
    return [bare for bare, _ in pairs], [ours for _, ours in pairs]


def whole(launches: Sequence[Launch]) -> Timing:
    """From the start of the process to its end."""
    return summary([launch.milliseconds() for launch in launches])


def report(title: str, bare: Sequence[Launch], ours: Sequence[Launch], *, barred: bool) -> None:
    """The comparison, and where the time goes."""
    one, other = whole(bare), whole(ours)
    pairs = [(first.milliseconds(), second.milliseconds()) for first, second in zip(bare, ours, strict=True)]
    ratio = statistics.median(second / first for first, second in pairs)
    added = statistics.median(second - first for first, second in pairs)
    verdict = f"bar {BAR}: {'held' if ratio <= BAR else 'MISSED'}" if barred else ""
    rows = [
        ("docker run", *one.cells(), "", "", ""),
        ("skillrun", *other.cells(), f"{added:+.0f}", f"{ratio:.2f}", verdict),
    ]
    show(f"{title}, {len(bare)} each", ("", "median ms", "min–max", "more ms", "ratio", ""), rows)
    phases = []
    for name, begin, end in PHASES:
        first, second = (
            statistics.median(launch.milliseconds(begin, end) for launch in launches) for launches in (bare, ours)
        )
        phases.append((f"  {name}", f"{first:.0f}", f"{second:.0f}", f"{second - first:+.0f}"))
    show("", ("  median ms", "docker run", "skillrun", "more"), phases)
    print()


def steps(bench: Bench, repeats: int) -> None:
    """What happens before the container is made, as processes that get further and further."""
    engine = "from skillrun.engine import connect; connect()"
    inside = f"{engine}.images.get({IMAGE!r}); connect().info()"
    dry_run = [*bench.request(IMAGE), "--dry-run"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "skillrun --help": [SKILLRUN, "--help"],
        "skillrun … --dry-run: the plan": dry_run,
        "python with docker-py, one answer": [sys.executable, "-c", engine],
        "… three answers": [sys.executable, "-c", inside],
    }
    rows = [(name, *measure(partial(timed, argv), repeats).cells()) for name, argv in commands.items()]
    show(f"Whole processes on the way to a launch, {repeats} each", ("", "median ms", "min–max"), rows)


@contextmanager
def short_image(client: DockerClient) -> Iterator[str]:
    """An image whose command ends at once; removed at the end."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for name, text in (("Dockerfile", SHORT_DOCKERFILE), ("visual_changenet", SHORT_COMMAND)):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    context.seek(0)
    client.images.build(fileobj=context, custom_context=True, tag=SHORT_IMAGE, rm=True)
    try:
        yield SHORT_IMAGE
    finally:
        client.images.remove(SHORT_IMAGE, force=True)


def docker_command() -> str:
    """The Docker command of the system's own package where there is one."""
    found = shutil.which("docker", path=f"/usr/bin{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        sys.exit("this benchmark compares with the command docker, which is not here: apt-get install docker.io")
    return found


def ready_engine() -> DockerClient:
    """An engine that has the image, or an end with what is missing."""
    try:
        client = connect()
        images.ensure(client, images.resolve(IMAGE), "never", lambda progress: None)
    except SkillrunError as error:
        sys.exit(f"{error.message}\n  fix: {error.fix}")
    return client


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Launch overhead over a bare docker run.")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="runs of each kind")
    repeats = parser.parse_args().repeats
    client = ready_engine()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), client, docker_command())
        synth(bench.folder / "boards", pairs=16, size=32)
        report("A training of one epoch", *by_turns(bench, IMAGE, repeats), barred=True)
        with short_image(client) as short:
            report("A command that ends at once", *by_turns(bench, short, repeats), barred=False)
        steps(bench, repeats)


if __name__ == "__main__":
    main()
