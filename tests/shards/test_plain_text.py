"""Text that would act on a terminal or a page is seen instead; all other text is as it was."""

from __future__ import annotations

import ast
import json
import unicodedata
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from instructrestore.shards.plain_text import html_text, json_text, markdown_text, visible, visible_line, yaml_text

ROOT = Path(__file__).resolve().parent.parent.parent
ACTING = {
    "a title": ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    "a colour": ("\x1b[31mred", "\\x1b[31mred"),
    "a sequence of one character": ("\x9b2J", "\\x9b2J"),
    "a line over another": ("sound\r1 fault", "sound\\r1 fault"),
    "another order": ("a\u202egpj.exe", "a\\u202egpj.exe"),
    "an isolate": ("\u2066a\u2069", "\\u2066a\\u2069"),
    "a separator": ("a\u2028b", "a\\u2028b"),
    "half a character": ("a\ud800", "a\\ud800"),
    "rubout": ("a\x7f\x08", "a\\x7f\\x08"),
}
PLAIN = ["", "a red dog", "Doré 犬 😀 👩‍🚀 العربية עברית हिन्दी", "a\u200fb", "C:\\x1b", "two\nlines\tand a tab"]


@pytest.mark.parametrize("name", ACTING)
def test_what_acts_is_seen(name: str) -> None:
    text, seen = ACTING[name]
    assert visible(text) == visible_line(text) == html_text(text) == seen


@pytest.mark.parametrize("text", PLAIN)
def test_all_other_text_is_as_it_was(text: str) -> None:
    assert visible(text) == text
    assert visible_line(text) == text.replace("\n", "\\n").replace("\t", "\\t")


@given(st.text())
def test_nothing_that_controls_is_left(text: str) -> None:
    assert not {char for char in visible_line(text) if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")}
    assert visible(visible(text)) == visible(text)
    visible(text).encode("utf-8")


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_for_people_is_the_same_value(value: object) -> None:
    text = json_text(value, indent=1)
    assert json.loads(text) == value
    assert visible(text) == text


def test_html_is_escaped_too() -> None:
    assert html_text("<b title='\"'>\x1b&") == "&lt;b title=&#x27;&quot;&#x27;&gt;\\x1b&amp;"


def test_there_is_one_console_and_one_way_into_html() -> None:
    found = set()
    for package in ("shards", "pretrained", "dataengine", "model", "pipelines", "instructrestore"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                named = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                imported = {name.name for name in node.names} if isinstance(node, ast.ImportFrom) else set()
                if named == "Console" or (isinstance(node, ast.ImportFrom) and node.module == "html" and imported):
                    found.add(path.relative_to(ROOT).as_posix())
    assert found == set()


@given(st.text())
def test_markdown_of_any_text_is_that_text(text: str) -> None:
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    seen = " ".join(visible(text).split())
    for page in (
        f"# {markdown_text(text)}",
        f"- x {markdown_text(text)}",
        f"| a |\n|---|\n| x {markdown_text(text)} |",
    ):
        inline = [token for token in reader.parse(page) if token.type == "inline"][-1]
        assert {token.type for token in inline.children or []} <= {"text", "text_special"}
        assert "".join(token.content for token in inline.children or []).removeprefix("x").strip() == seen


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_yaml_of_any_text_is_that_text(text: str) -> None:
    assert yaml.safe_load(f"a: {yaml_text([text, {text: 1}])}") == {"a": [text, {text: 1}]}
    assert yaml_text(text).isascii()


def test_yaml_has_no_half_characters() -> None:
    assert yaml.safe_load(yaml_text("a\ud83db 👩")) == "a\ufffdb 👩"
