"""Texts of others as JSON inside a prompt: whatever they hold, they stay inside their quotes."""

from __future__ import annotations

import json

# Characters that chat templates build their control tokens from ("<|im_end|>", "</s>", "[INST]"). Written as JSON
# escapes they mean the same in JSON and nothing to a tokenizer.
_CONTROL = {ord(character): f"\\u{ord(character):04x}" for character in "<>[]|"}


def quoted(name: str, text: str) -> str:
    """A JSON object with one text, `{"name": "text"}`, that no chat template takes for more than text."""
    inside = json.dumps(text, ensure_ascii=False).translate(_CONTROL)
    return f'{{"{name}": {inside}}}'
