"""Spec files are data: a safe subset of YAML, references inside the spec, and errors with a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from skillrun.errors import NotFoundError, SkillrunError, UsageError
from skillrun.specfile import dump_spec, parse_spec, read_spec


def test_references_keep_their_type_and_join_into_text() -> None:
    spec = parse_spec("results_dir: /r\nbatch: 8\na:\n  b: ${batch}\n  c: ${results_dir}/train/x_${batch}\n")
    assert spec.values["a"] == {"b": 8, "c": "/r/train/x_8"}


def test_floats_in_scientific_notation_are_numbers() -> None:
    assert parse_spec("lr: 1e-5\nx: 1.5E3\n").values == {"lr": 1e-5, "x": 1500.0}


def test_every_key_remembers_its_line() -> None:
    spec = parse_spec("train:\n  optim:\n    lr: 1\n", name="s.yaml")
    assert spec.place("train.optim.lr") == "s.yaml:3"
    assert spec.place("train.optim.momentum") == "s.yaml:2"


HOSTILE = {
    "eval": ("seed: ${eval:'1+1'}", "E_SPEC_REFERENCE"),
    "env": ("key: ${oc.env:HOME}", "E_SPEC_REFERENCE"),
    "tag": ("seed: !!python/object/apply:os.system ['true']", "E_SPEC_TAG"),
    "own tag": ("seed: !thing 3", "E_SPEC_TAG"),
    "binary": ("seed: !!binary aGVsbG8=", "E_SPEC_TAG"),
    "alias": ("a: &x [1, 2]\nb: [*x, *x]", "E_SPEC_ALIAS"),
    "duplicate": ("train:\n  lr: 1\n  lr: 2", "E_SPEC_DUPLICATE"),
    "circle": ("a: ${b}\nb: ${a}", "E_SPEC_REFERENCE"),
    "no such key": ("a: ${nowhere.x}", "E_SPEC_REFERENCE"),
    "not a mapping": ("- 1\n- 2", "E_SPEC_YAML"),
    "broken": ("a: [1, 2", "E_SPEC_YAML"),
    "tab": ("a:\n\tb: 1", "E_SPEC_YAML"),
    "deep": ("a: " + "[" * 40 + "]" * 40, "E_SPEC_YAML"),
}


@pytest.mark.parametrize(("text", "code"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_a_spec_may_not_hold_is_refused_with_its_place(text: str, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(text, name="bad.yaml")
    assert caught.value.code == code
    assert "bad.yaml" in caught.value.message


def test_a_billion_laughs_is_refused_at_once() -> None:
    text = "x0: &x0 [x, x]\n" + "".join(f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}]\n" for n in range(1, 64))
    with pytest.raises(UsageError) as caught:  # written out, it would fill any memory
        parse_spec(text)
    assert caught.value.code == "E_SPEC_ALIAS"


def test_a_byte_order_mark_in_a_spec_file_does_no_harm(hostile_dir: Path) -> None:
    path = hostile_dir / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbftask: classify\r\n")
    assert read_spec(path).values == {"task": "classify"}


def test_files_that_are_no_spec_are_named(hostile_dir: Path) -> None:
    with pytest.raises(NotFoundError):
        read_spec(hostile_dir / "absent.yaml")
    (hostile_dir / "latin.yaml").write_bytes(b"a: \xff\xfe")
    (hostile_dir / "big.yaml").write_text("a: " + "x" * 1_100_000, encoding="utf-8")
    for name in ("latin.yaml", "big.yaml"):
        with pytest.raises(SkillrunError, match=name):
            read_spec(hostile_dir / name)


def test_what_is_dumped_reads_back_equal() -> None:
    values = {"a": {"b": [1, 2.5, None, True, "yes", "1e-5", "ü"]}, "c": {}, "d": 1e-05}
    assert parse_spec(dump_spec(values)).values == values
