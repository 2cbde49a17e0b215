"""key=value on the command line is typed by the schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skillrun.errors import UsageError
from skillrun.overrides import get_dotted, nearest, parse_value, set_dotted, split_override, unknown_key

CASES: list[tuple[str, Any, Any]] = [
    ("5", "integer", 5),
    ("1e-4", "number", 1e-4),
    ("0.5", "number", 0.5),
    ("true", "boolean", True),
    ("False", "boolean", False),
    ("banana", "number", "banana"),
    ("[1, 10.5]", "array", [1, 10.5]),
    ("[90,180]", "array", [90, 180]),
    ("{x: 2, y: 1}", "object", {"x": 2, "y": 1}),
    ("{SolderLight: 0}", ["object", "null"], {"SolderLight": 0}),
    ("null", ["object", "null"], None),
    ("null", ["string", "null"], None),
    ("", ["string", "null"], None),
    ("1.10", "string", "1.10"),
    ("yes", "string", "yes"),
    ("'a b'", "string", "a b"),
    ('"null"', ["string", "null"], "null"),
    ("/data/a=b.csv", "string", "/data/a=b.csv"),
    ("null", "integer", None),
]


@pytest.mark.parametrize(("text", "types", "expected"), CASES)
def test_values_are_read_by_the_types_their_key_allows(text: str, types: Any, expected: Any) -> None:
    found = parse_value(text, {"type": types})
    assert found == expected
    assert type(found) is type(expected)


@given(st.text())
def test_any_text_for_a_text_key_is_kept_or_unquoted(text: str) -> None:
    assert parse_value(text, {"type": "string"}) in (text, text[1:-1])


@given(st.text(max_size=40))
def test_no_text_makes_the_reader_of_numbers_crash(text: str) -> None:
    parse_value(text, {"type": "number"})


def test_an_argument_without_equals_sign_is_refused() -> None:
    for text in ("num_epochs", "=5", " =5"):
        with pytest.raises(UsageError) as caught:
            split_override(text)
        assert caught.value.code == "E_ARG_OVERRIDE"


def test_the_value_may_hold_equals_signs() -> None:
    assert split_override("a.b=c=d") == ("a.b", "c=d")


def test_the_nearest_keys_are_named() -> None:
    known = ["train.num_epochs", "train.optim.lr", "dataset.classify.batch_size"]
    assert nearest("train.num_epohcs", known)[0] == "train.num_epochs"
    assert nearest("lr", known)[0] == "train.optim.lr"
    assert nearest("model.batch_size", known)[0] == "dataset.classify.batch_size"
    error = unknown_key("train.num_epohcs", known, place="s.yaml:3", action="train")
    assert "s.yaml:3" in error.message
    assert "train.num_epochs" in error.fix


def test_dotted_values_are_set_and_read_back() -> None:
    values: dict[str, Any] = {"a": {"x": 1}, "b": 3}
    set_dotted(values, "a.b.c", 2)
    assert values == {"a": {"x": 1, "b": {"c": 2}}, "b": 3}
    assert get_dotted(values, "a.b.c") == 2
    assert get_dotted(values, "b.c") is None
