"""Reading specs: overrides, references, and what is refused."""

from pathlib import Path

import pytest

from visual_changenet.errors import MissingFileError, SpecError
from visual_changenet.spec import load_spec, parse_yaml, resolve_references


def load(folder: Path, text: str, *overrides: str) -> dict[str, object]:
    path = folder / "spec é.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path, overrides)


def test_overrides_are_typed_and_references_resolved(tmp_path: Path) -> None:
    spec = load(tmp_path, "results_dir: /r\ntrain: {results_dir: '${results_dir}/t'}\n", "train.optim.lr=1e-3")
    train = spec["train"]
    assert isinstance(train, dict)
    assert train["results_dir"] == "/r/t"
    assert train["optim"]["lr"] == 0.001


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("train: {num_epoch: 3}", "E_SPEC_UNKNOWN_KEY"),
        ("train: {num_epochs: three}", "E_SPEC_VALUE"),
        ("task: classify\ntask: segment", "E_SPEC_YAML"),
        ("task: !!python/name:os.system x", "E_SPEC_YAML"),
        ("results_dir: ${eval:1+1}", "E_SPEC_REFERENCE"),
        ("results_dir: ${nowhere.at.all}", "E_SPEC_REFERENCE"),
        ("results_dir: ${results_dir}", "E_SPEC_REFERENCE"),
        ("- a list", "E_SPEC_YAML"),
    ],
)
def test_wrong_specs_are_refused_with_their_code(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, text)
    assert caught.value.code == code


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load(tmp_path, "train: {num_epoch: 3}")
    assert "train.num_epochs" in caught.value.fix


def test_many_aliases_are_refused() -> None:
    with pytest.raises(SpecError, match="aliases"):
        parse_yaml("a: &x [1]\nb: [" + ", ".join(["*x"] * 200) + "]", "spec")


def test_an_override_without_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"key\.sub=value"):
        load(tmp_path, "task: classify", "train.num_epochs")


def test_a_missing_spec_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nothing\.yaml"):
        load_spec(tmp_path / "nothing.yaml")


def test_a_reference_keeps_the_type_of_its_value() -> None:
    assert resolve_references({"a": {"n": 3}, "b": "${a.n}", "c": "x${a.n}"}) == {
        "a": {"n": 3},
        "b": 3,
        "c": "x3",
    }
