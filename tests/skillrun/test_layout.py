"""Host paths and container paths, there and back."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrun import bank
from skillrun.layout import container_layout, host_layout, relative_to_run, to_host
from skillrun.overrides import set_dotted
from skillrun.spec import path_keys

KEYS = path_keys(bank.schema("visual_changenet", "train"))
RUN = Path("/home/a/runs/one")
CSV = "dataset.classify.train_dataset.csv_path"
IMAGES = "dataset.classify.train_dataset.images_dir"
VALIDATION = "dataset.classify.validation_dataset.images_dir"
BACKBONE = "model.backbone.pretrained_backbone_path"


def values(**paths: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, path in paths.items():
        set_dotted(found, key, path)
    return found


def test_only_outputs_are_writable_and_every_input_has_a_place_of_its_own() -> None:
    made = container_layout(
        KEYS,
        values(
            **{
                CSV: "/d/a b'c\"ü,é$x/dataset.csv",
                IMAGES: "/d",
                VALIDATION: "/d",
                "results_dir": str(RUN / "results"),
            }
        ),
        RUN,
    )
    writable = [mount for mount in made.mounts if not mount.read_only]
    assert [(mount.source, mount.target) for mount in writable] == [(str(RUN), "/skillrun/run")]
    targets = [mount.target for mount in made.mounts]
    assert len(set(targets)) == len(targets)
    assert not any(a != b and b.startswith(f"{a}/") for a in targets for b in targets), "no target lies in another"
    assert made.paths["results_dir"] == "/skillrun/run/results"
    assert made.paths[IMAGES] == "/data/train_dataset/images_dir"
    assert made.paths[CSV] == "/data/train_dataset/csv_path/dataset.csv"
    assert [mount.kind for mount in made.mounts] == ["dir", "file", "dir", "dir"]


def test_results_elsewhere_and_a_shared_cache_are_mounted_beside_the_run() -> None:
    made = container_layout(
        KEYS,
        values(
            **{
                "results_dir": "/out/here",
                "train.results_dir": "/out/here/train",
                "dataset.classify.cache_dir": "/fast/cache",
            }
        ),
        RUN,
    )
    assert {mount.source: mount.target for mount in made.mounts if not mount.read_only} == {
        str(RUN): "/skillrun/run",
        "/out/here": "/skillrun/out/results_dir",
        "/fast/cache": "/skillrun/out/classify/cache_dir",
    }
    assert made.paths["train.results_dir"] == "/skillrun/out/results_dir/train"


def test_an_output_file_elsewhere_mounts_its_folder() -> None:
    keys = path_keys(bank.schema("visual_changenet", "export"))
    made = container_layout(keys, values(**{"export.onnx_file": "/models/board 7.onnx"}), RUN)
    assert made.paths["export.onnx_file"] == "/skillrun/out/export/onnx_file/board 7.onnx"
    assert made.mounts[-1].source == "/models"


def test_a_documented_container_path_is_kept() -> None:
    documented = {BACKBONE: "/data/pretrained_models/C-RADIOv2_B.safetensors"}
    made = container_layout(KEYS, values(**{BACKBONE: "/w/c_radio.safetensors"}), RUN, documented)
    assert made.mounts[-1].target == documented[BACKBONE] == made.paths[BACKBONE]
    assert made.mounts[-1].kind == "file"


def test_addresses_and_empty_values_are_no_mounts() -> None:
    made = container_layout(KEYS, values(**{BACKBONE: "hf://org/repo/file", CSV: "", IMAGES: "/d"}), RUN)
    assert [mount.source for mount in made.mounts] == [str(RUN), "/d"]
    assert set(made.paths) == {IMAGES}


def test_without_a_container_every_path_stays_where_it_is() -> None:
    made = host_layout(KEYS, values(**{CSV: "/d/x.csv", IMAGES: "/d"}), RUN)
    assert all(mount.source == mount.target for mount in made.mounts)
    assert made.paths == {}


def test_a_message_of_the_container_names_host_paths() -> None:
    made = container_layout(KEYS, values(**{CSV: "/h/dataset.csv", IMAGES: "/h/images"}), RUN)
    said = "row 3: /data/train_dataset/images_dir/a.png is missing (/data/train_dataset/csv_path/dataset.csv)"
    assert to_host(said, made.mounts) == "row 3: /h/images/a.png is missing (/h/dataset.csv)"
    assert to_host("/data/train_dataset/images_dir2", made.mounts) == "/data/train_dataset/images_dir2"


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("results/train/m.pth", "results/train/m.pth"),
        ("../out/results_dir/train/m.pth", "../../../../out/here/train/m.pth"),
    ],
)
def test_files_of_a_result_are_found_from_the_run_folder(path: str, seen: str) -> None:
    made = container_layout(KEYS, values(results_dir="/out/here"), RUN)
    assert relative_to_run(path, str(RUN), made.mounts) == seen


names = st.text(string.ascii_letters + " ü'\",$:=-_.", min_size=1, max_size=12).filter(lambda name: name.strip(". "))
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(paths, min_size=3, max_size=3))
def test_any_path_comes_back_as_it_was(found: list[str]) -> None:
    made = container_layout(KEYS, values(**dict(zip((CSV, IMAGES, VALIDATION), found, strict=True))), RUN)
    sources = {mount.target: mount.source for mount in made.mounts}
    for key, path in zip((CSV, IMAGES, VALIDATION), found, strict=True):
        assert sources[made.paths[key]] == path
        assert to_host(made.paths[key], made.mounts) == path


def test_an_engine_is_mounted_with_the_file_beside_it(hostile_dir: Path) -> None:
    engine = hostile_dir / "model.engine"
    engine.write_bytes(b"engine")
    (hostile_dir / "model.engine.json").write_text("{}", encoding="utf-8")
    keys = {"evaluate.trt_engine": ("file", "in")}
    found = container_layout(keys, {"evaluate": {"trt_engine": str(engine)}}, hostile_dir / "run")
    place = found.paths["evaluate.trt_engine"]
    assert [(mount.source, mount.target) for mount in found.mounts[1:]] == [
        (str(engine), place),
        (f"{engine}.json", f"{place}.json"),
    ]
