"""Spec resolution: layers in their order, typed by the schema, with the origin of every value."""

from __future__ import annotations

from pathlib import Path

import pytest

from skillrun import bank
from skillrun.errors import UsageError
from skillrun.prepare import spec_builder
from skillrun.spec import SpecBuilder
from skillrun.specfile import parse_spec

MODEL = "visual_changenet"


def builder(action: str = "train") -> SpecBuilder:
    return spec_builder(MODEL, action)


def test_without_any_layer_the_spec_is_the_template() -> None:
    for action in bank.actions(MODEL):
        assert builder(action).resolve().values == bank.load_yaml(bank.template_path(MODEL, action)), action


def test_later_layers_win_and_are_remembered() -> None:
    spec = builder()
    spec.add_file(parse_spec("train:\n  num_epochs: 7\n  seed: 3\n", name="my.yaml"))
    spec.add("data set", {"dataset.classify.image_ext": ".png"})
    spec.add_overrides(["num_epochs=9"])
    resolved = spec.resolve()
    origins = {key: (value, origin) for key, value, origin in spec.explain(resolved)}
    assert origins["train.num_epochs"] == (9, "argument 'num_epochs=9'")
    assert origins["train.seed"] == (3, "my.yaml:3")
    assert origins["dataset.classify.image_ext"] == (".png", "data set")
    assert origins["train.optim.momentum"][1] == "template"


def test_every_shorthand_key_reaches_its_spec_key() -> None:
    for action in bank.actions(MODEL):
        for alias, key in bank.shorthand(MODEL, action).items():
            node = dict(builder(action).nodes)[key]
            sample = {"integer": "2", "number": "0.5", "array": "[1]"}.get(str(node["type"]), "x")
            if "enum" in node:
                sample = str(node["enum"][0])
            spec = builder(action)
            spec.add_overrides([f"{alias}={sample}"])
            assert spec._layers[-1].values.keys() == {key}, (action, alias)


def test_the_last_of_two_overrides_wins_and_is_said() -> None:
    spec = builder()
    spec.add_overrides(["num_epochs=5", "train.num_epochs=6"])
    resolved = spec.resolve()
    assert resolved.get("train.num_epochs") == 6
    assert any("twice" in notice for notice in resolved.notices)


def test_a_mapping_given_to_a_section_sets_its_keys() -> None:
    spec = builder()
    spec.add_overrides(["dataset.classify.grid_map={x: 4, y: 1}"])
    assert spec.resolve().get("dataset.classify.grid_map") == {"x": 4, "y": 1}


BAD = {
    "unknown key": ("train.num_epohcs=3", "E_SPEC_UNKNOWN_KEY", "train.num_epochs"),
    "key of the other task": ("dataset.segment.root_dir=/x", "E_SPEC_UNKNOWN_KEY", ""),
    "section": ("train.optim=3", "E_SPEC_SECTION", "train.optim.lr"),
    "wrong type": ("train.optim.lr=banana", "E_SPEC_TYPE", "number"),
    "boolean for a number": ("num_epochs=true", "E_SPEC_TYPE", "integer"),
    "float for an integer": ("num_epochs=2.5", "E_SPEC_TYPE", "integer"),
    "below the bound": ("num_epochs=-5", "E_SPEC_BOUNDS", "1"),
    "above the bound": ("train.optim.momentum=3", "E_SPEC_BOUNDS", "1.0"),
    "enum typo": ("model.backbone.type=fan_tiny_8_p4_hibrid", "E_SPEC_ENUM", "fan_tiny_8_p4_hybrid"),
    "loss and module": ("model.classify.difference_module=euclidean", "E_RULE_CE_NEEDS_LEARNABLE", "learnable"),
    "batch of one": ("batch_size=1", "E_RULE_CLASSIFY_BATCH", "2"),
}


@pytest.mark.parametrize(("override", "code", "hint"), BAD.values(), ids=BAD.keys())
def test_a_bad_override_is_refused_with_place_and_fix(override: str, code: str, hint: str) -> None:
    spec = builder()
    with pytest.raises(UsageError) as caught:
        spec.add_overrides([override])
        spec.resolve()
    assert caught.value.code == code
    assert hint in caught.value.message + caught.value.fix
    assert override.split("=")[0].rpartition(".")[2] in caught.value.message
    assert caught.value.fix


def test_a_bad_value_in_a_file_names_file_and_line() -> None:
    spec = builder()
    spec.add_file(parse_spec("task: classify\ntrain:\n  optim:\n    lr: fast\n", name="my.yaml"))
    with pytest.raises(UsageError, match=r"my\.yaml:4.*lr='fast'"):
        spec.resolve()


def test_an_unknown_key_in_a_file_names_file_line_and_nearest_key() -> None:
    with pytest.raises(UsageError, match=r"my\.yaml:2.*num_epohcs.*train\.num_epochs"):
        builder().add_file(parse_spec("train:\n  num_epohcs: 4\n", name="my.yaml"))


def test_sections_of_other_actions_in_a_file_are_left_out_and_said() -> None:
    spec = builder()
    spec.add_file(parse_spec("evaluate:\n  checkpoint: /x.pth\nexport:\ntrain:\n  num_epochs: 4\n"))
    resolved = spec.resolve()
    assert "evaluate" not in resolved.values
    assert resolved.get("train.num_epochs") == 4
    assert any("evaluate" in notice for notice in resolved.notices)


def test_keys_of_older_documents_are_read_under_their_present_names() -> None:
    spec = builder()
    spec.add_file(parse_spec("dataset:\n  classify:\n    output_shape: [48, 96]\n"))
    resolved = spec.resolve()
    assert resolved.get("dataset.classify.image_height") == 48
    assert resolved.get("dataset.classify.image_width") == 96


def test_intervals_longer_than_the_training_are_clamped_and_said_when_given() -> None:
    spec = builder()
    spec.add_overrides(["num_epochs=3", "train.checkpoint_interval=50"])
    resolved = spec.resolve()
    assert resolved.get("train.checkpoint_interval") == 3
    assert resolved.get("train.validation_interval") <= 3
    assert [notice for notice in resolved.notices if "checkpoint_interval" in notice]


def test_the_strides_follow_the_backbone() -> None:
    spec = builder()
    spec.add_overrides(["model.backbone.type=fan_small_12_p4_hybrid"])
    assert spec.resolve().get("model.decode_head.feature_strides") == [4, 8, 16, 16]


def test_relative_paths_are_taken_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = builder()
    spec.add_file(parse_spec("train:\n  pretrained_model_path: a/b.pth\n", name="my.yaml"))
    spec.add_overrides(["train.resume_training_checkpoint_path=c.pth"])
    resolved = spec.resolve()
    assert resolved.get("train.pretrained_model_path") == str(tmp_path / "a" / "b.pth")
    assert resolved.get("train.resume_training_checkpoint_path") == str(tmp_path / "c.pth")
    assert resolved.get("model.backbone.pretrained_backbone_path") == ""
    origins = {key: origin for key, _, origin in spec.explain(resolved)}
    assert origins["train.pretrained_model_path"] == "my.yaml:2"


def test_the_published_mark_for_a_missing_path_is_no_path() -> None:
    spec = builder("evaluate")
    spec.add_file(parse_spec("evaluate:\n  checkpoint: ???\n"))
    assert spec.resolve().get("evaluate.checkpoint") == "???"
