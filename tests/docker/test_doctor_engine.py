"""What the doctor says about a real engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillrun.doctor.containers import check_orphans, engine_checks

if TYPE_CHECKING:
    from docker import DockerClient

COMMAND = "import typer; from skillrun.cli.doctor import doctor; typer.run(doctor)"
LABELS = {"skillrun.test": "doctor"}


def test_a_running_engine_is_told_with_its_version_room_and_images(engine: DockerClient) -> None:
    found = {check.name: check for check in engine_checks()}
    assert str(engine.version()["Version"]) in found["engine"].message
    assert "GiB free" in found["engine disk"].message
    assert found["image train"].status == "ok" or found["image train"].fix.startswith("skillrun images build train")
    assert "GPU runtime" in found


def test_the_whole_doctor_answers_and_does_not_hang(engine: DockerClient, workspace: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", COMMAND, "--json"], capture_output=True, text=True, check=True, cwd=workspace, timeout=30
    )
    answer: dict[str, Any] = json.loads(finished.stdout)
    verdict = answer["checks"][-1]
    assert "docker" in verdict["message"]


def test_a_container_without_its_run_folder_is_counted_and_named(
    engine: DockerClient, base_image: str, hostile_dir: Path
) -> None:
    kept = hostile_dir / "runs" / "kept"
    kept.mkdir(parents=True)
    (kept / "run.json").write_text("{}", encoding="utf-8")
    made = [
        engine.containers.create(
            base_image,
            ["true"],
            labels={**LABELS, "skillrun.run": run_id, "skillrun.dir": str(kept.with_name(run_id))},
        )
        for run_id in ("kept", "gone-by-doctor-test")
    ]
    try:
        check = check_orphans(engine, remote=False)
        assert check.status == "warn"
        assert "gone-by-doctor-test" in check.message
        assert " kept" not in check.message
        assert check.fix.startswith("skillrun runs rm ")
        assert check_orphans(engine, remote=True).status == "ok"
    finally:
        for container in made:
            container.remove(force=True)
