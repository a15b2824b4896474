"""JSON and TOML that mean harm: one sentence that names the text, whatever reads it."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path

import pytest

from instructrestore.shards.parsing import (
    MAX_DEPTH,
    RepeatedName,
    parse_json,
    parse_object,
    parse_toml,
    read_bounded,
)

ROOT = Path(__file__).resolve().parent.parent.parent
DEEP = 200_000


@pytest.mark.parametrize("any_number", [False, True])
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[" * DEEP, "nested too deeply"),
        ('{"a":' * DEEP, "nested too deeply"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested too deeply"),
        ('{"a": 1, "b": {"c": 2, "d": 3, "c": 4}}', "says 'c' twice"),
        ("9" * 1_000_000, "a number of"),
        ("{", "line 1 column 2"),
        ("", "line 1 column 1"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b'{"a": "\xff"}', "not UTF-8"),
    ],
)
def test_a_bad_text_is_one_sentence_that_names_it(text: bytes | str, complaint: str, any_number: bool) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_json(text, "run/some.json", any_number)
    assert str(caught.value).startswith("run/some.json ") and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_name_that_stands_twice_is_told_apart_and_found_at_once() -> None:
    many = ", ".join(f'"{number}": 0' for number in range(100_000))
    with pytest.raises(RepeatedName, match="'99999' twice"):
        parse_json("{" + many + ', "99999": 1}', "x")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-" + "9" * 400 + ".5", "9" * 301])
def test_numbers_are_finite_unless_someone_else_judges_them(number: str) -> None:
    with pytest.raises(ValueError, match="x is not valid JSON"):
        parse_json(f'{{"a": [{number}]}}', "x")
    [read] = parse_json(f'{{"a": [{number}]}}', "x", any_number=True)["a"]
    assert read == int(number) if number.isdigit() else not math.isfinite(read)


def test_sound_values_are_those_of_the_standard_library() -> None:
    value = {"a": [1, -2.5, 1e-9, True, None, "é\u2028"], "b": {"c": []}, "d": 10**299}
    for any_number in (False, True):
        assert parse_json(json.dumps(value), "x", any_number) == value
        assert parse_json(b"\xef\xbb\xbf" + json.dumps(value).encode(), "x", any_number) == value
    at_the_limit = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(at_the_limit, "x")) == at_the_limit


@pytest.mark.parametrize("text", ["[1]", "1", '"a"', "null"])
def test_an_object_is_asked_for(text: str) -> None:
    with pytest.raises(ValueError, match=r"x\.json holds no values by name"):
        parse_object(text, "x.json")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a = " + "[" * DEEP, "nested too deeply"),
        (".".join(["a"] * 200) + " = 1", "nested too deeply"),
        (".".join(["a"] * DEEP) + " = 1", "more than 250 dots"),
        ("[" + ".".join(["a"] * DEEP) + "]", "more than 250 dots"),
        ("a = " + "9" * 5000, "a number of"),
        ("a = 1\na = 2", "overwrite"),
        (b"a = '\xff'", "not UTF-8"),
        ("name = [", "Invalid value"),
    ],
)
def test_bad_toml_is_one_sentence_that_names_it(text: bytes | str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        parse_toml(text, "my.toml")
    assert str(caught.value).startswith("my.toml cannot be read as TOML: ") and "\n" not in str(caught.value)


def test_no_more_of_a_file_is_read_than_may_be_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"12345")
    assert read_bounded(tmp_path / "a.json", 5) == b"12345"
    with pytest.raises(ValueError, match=r"a\.json has more than 4 bytes"):
        read_bounded(tmp_path / "a.json", 4)


def test_there_is_no_other_reader() -> None:
    """What validates as it reads is pydantic's, which has bounds of its own."""
    others = []
    for package in ("shards", "pretrained", "dataengine", "model", "pipelines", "instructrestore"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in ("json.load", "json.loads"):
                    others.append(path)
                if isinstance(node, ast.Import) and any(name.name in ("tomllib", "tomli") for name in node.names):
                    others.append(path)
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".json"):  # an answer's, of httpx
                    others.append(path)
    assert {path.relative_to(ROOT).as_posix() for path in others} == {"shards/parsing.py"}
