"""The console that every command prints to: rich's, which shows text from data as it is and lets none of it act."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from instructrestore.shards.plain_text import visible


class PlainConsole(Console):
    """Square brackets are no markup here, and control sequences come from rich alone.

    Where text is laid out by its width it is cleaned before, as text; whatever else there is, as it is written.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        if isinstance(renderable, Text) and (clean := visible(renderable.plain)) != renderable.plain:
            layout = {name: getattr(renderable, name) for name in ("justify", "overflow", "no_wrap", "end", "tab_size")}
            renderable = Text(clean, renderable.style, **layout)
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))
