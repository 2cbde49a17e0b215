"""The example specs of the published documents are read as they stand, by the runner and by the container."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from skillrun import bank
from skillrun.cli.app import build
from skillrun.overrides import flatten, get_dotted
from skillrun.prepare import spec_builder
from skillrun.specfile import parse_spec
from visual_changenet.spec import load_spec

SPECS = Path(__file__).with_name("data") / "published_specs"
ACTIONS = ("train", "evaluate", "inference", "export")
# What each document is shown with.
SHOWN = {
    "classify_train_fan": ACTIONS,
    "classify_train_vit": ACTIONS,
    "classify_test": ("evaluate", "inference"),
    "classify_export": ("export",),
    "segment_train_fan": ACTIONS,
    "segment_train_vit": ACTIONS,
    "segment_test": ("evaluate", "inference"),
    "segment_export": ("export",),
}
SECTIONS = ("classify_sections", "segment_sections")
CASES = [(name, action) for name, actions in SHOWN.items() for action in actions]


def _task(name: str) -> str:
    return name.partition("_")[0]


def _text(name: str) -> str:
    return (SPECS / f"{name}.yaml").read_text(encoding="utf-8")


def _written(name: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys of a document with their values; free maps stay whole."""
    maps = ("dataset.classify.input_map", "dataset.segment.color_map")
    yield from flatten(yaml.safe_load(_text(name)), maps).items()


def _same(read: Any, written: Any) -> bool:
    """Whether a value was kept; null, the empty text and ``???`` all say "not given"."""
    absent = (None, "", "???")
    return read == written or (written in absent and read in absent)


@pytest.fixture
def there(hostile_dir: Path) -> Path:
    """A folder that stands for ``/path/to``, with every file that the documents name."""
    for name in ("pretrained/model.pth", "pretrained/backbone.pth", "checkpoint", "model.pth"):
        (hostile_dir / name).parent.mkdir(exist_ok=True)
        (hostile_dir / name).touch()
    for name in ("train.csv", "val.csv", "test.csv", "infer.csv"):
        (hostile_dir / name).touch()
    for name in ("img_dir", "root/dataset/dir"):
        (hostile_dir / name).mkdir(parents=True)
    return hostile_dir


def _placed(name: str, there: Path, folder: Path) -> Path:
    """The document with its paths set to real ones, as a file."""

    def quoted(path: re.Match[str]) -> str:
        return json.dumps(str(there / path[1]), ensure_ascii=False)

    spec = folder / "spec.yaml"
    spec.write_text(re.sub(r"/path/to/(\S+)", quoted, _text(name)), encoding="utf-8")
    return spec


@pytest.mark.parametrize("spelling", ["skillrun visual_changenet", "skillrun model visual_changenet"])
@pytest.mark.parametrize(("name", "action"), CASES, ids=lambda word: word)
def test_the_runner_plans_each_document_as_its_command_says(
    name: str, action: str, spelling: str, there: Path, workspace: Path
) -> None:
    arguments = [*spelling.split()[1:], action, "-e", str(_placed(name, there, workspace)), "--dry-run", "--json"]
    arguments += [f"task={_task(name)}"]
    if action != "train":
        arguments += [f"{action}.checkpoint={there / 'checkpoint'}"]
    elif "model" not in spelling.split():
        arguments += ["--no-automl"]  # a search looks at the data first, and the documents name none of ours
    result = CliRunner().invoke(build(), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)["plan"]
    assert plan["task"] == _task(name)
    assert plan["action"] == ("" if _task(name) == "classify" else "segment_") + action


@pytest.mark.parametrize("name", [*SHOWN, *SECTIONS])
@pytest.mark.parametrize("action", ACTIONS)
def test_every_documented_key_keeps_its_value_in_each_action_that_reads_it(name: str, action: str) -> None:
    builder = spec_builder("visual_changenet", bank.resolve_action("visual_changenet", action, _task(name)))
    builder.add_file(parse_spec(_text(name)))
    resolved = builder.resolve()
    for key, value in _written(name):
        if key in builder.nodes and "${" not in str(value) and key not in ("dataset.segment.root_dir",):
            assert _same(resolved.get(key), value), key


@pytest.mark.parametrize("name", [*SHOWN, *SECTIONS])
def test_the_container_reads_each_document_and_keeps_its_values(name: str) -> None:
    spec = load_spec(SPECS / f"{name}.yaml", [f"task={_task(name)}"])
    renamed = {"model.decode_head.align_corner", "dataset.classify.output_shape"}
    for key, value in _written(name):
        if key not in renamed and "${" not in str(value):
            assert _same(get_dotted(spec, key), value), key
    if name == "classify_train_fan":
        assert spec["train"]["results_dir"] == "/path/to/experiment_results/train"
    if name == "classify_test":
        assert (spec["dataset"]["classify"]["image_height"], spec["dataset"]["classify"]["image_width"]) == (128, 128)


@pytest.mark.parametrize("action", ["train", "segment_train"])
def test_every_documented_backbone_is_a_choice(action: str) -> None:
    builder = spec_builder("visual_changenet", action)
    documented = {f"fan_{size}_p4_hybrid" for size in ("tiny_8", "small_12", "base_16", "large_16")}
    documented |= {f"c_radio_p{n}_vit_huge_patch16_224_mlpnorm" for n in (1, 2, 3)}
    documented |= {f"c_radio_v2_vit_{size}_patch16_224" for size in ("huge", "large", "base")}
    assert documented | {"vit_large_nvdinov2"} <= set(builder.nodes["model.backbone.type"]["enum"])


@pytest.mark.parametrize(
    "text",
    [
        *(f"dataset.segment.data_name={name}" for name in ("LEVIR", "LEVIR-CD", "LandSCD", "custom")),
        "dataset.segment.label_transform=None",
        "dataset.segment.color_map=null",
        "dataset.segment.workers=0",
        "train.optim.policy=step",
        "train.num_nodes=2",
    ],
)
def test_documented_choices_are_accepted_by_both(text: str, tmp_path: Path) -> None:
    builder = spec_builder("visual_changenet", "segment_train")
    builder.add_overrides([text])
    spec = tmp_path / "spec.yaml"
    spec.write_text(builder.resolve().text(), encoding="utf-8")
    assert load_spec(spec)["task"] == "segment"
