"""Text that others wrote, for people's eyes: nothing in it acts on a terminal or a page, or hides what is there.

A control sequence can rewrite what a terminal shows, type into it or set its title; bidirectional overrides show text
in another order than it is in. Both come in captions, licences, file names and servers' errors alike.
"""

from __future__ import annotations

import html
import json
import re
from typing import Any

from instructrestore.shards.addresses import masked

# Control characters (C1 too, where U+009B alone begins a sequence) but for the end of a line and tabs; line and
# paragraph separators; embeddings, overrides and isolates of direction; halves of surrogate pairs.
_ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_NOT_ASCII = re.compile("[^ -~]")


def visible(text: str) -> str:
    """The text with what would act as an escape that is seen, such as \\x1b, and secrets in addresses masked.

    Line ends and tabs stay.
    """
    return _ACTS.sub(_escape, masked(text))


def visible_line(text: str) -> str:
    """`visible` text on one line: line ends and tabs become visible too."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def html_text(text: str) -> str:
    """`visible` text for HTML, in elements and in quoted attributes."""
    return html.escape(visible(text))


def markdown_text(text: str) -> str:
    """`visible` text for Markdown: on one line, with everything escaped that has a meaning in Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|$~&#])", r"\\\1", " ".join(visible(text).split()))


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON for people: other scripts as they are, what would act escaped, which gives the same value back."""
    return _ACTS.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, indent=indent, ensure_ascii=False))


def yaml_text(value: Any) -> str:
    """JSON that YAML reads as the same value, in ASCII: to YAML, a surrogate pair as JSON escapes it is two characters.

    YAML cannot hold a lone half of a pair, which becomes U+FFFD.
    """
    return _NOT_ASCII.sub(_yaml_escape, json.dumps(value, ensure_ascii=False))


def _yaml_escape(found: re.Match[str]) -> str:
    code = 0xFFFD if "\ud800" <= found[0] <= "\udfff" else ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] == "\r":
        return "\\r"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
