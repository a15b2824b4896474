"""Options of the commands that take wishes in any words."""

from __future__ import annotations

from typing import Annotated

import typer

from instructrestore.pipelines.understanding.wishes import KEY

_PANEL = "Wishes that the grammar does not know"

LanguageModel = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="An OpenAI-compatible server, as in http://127.0.0.1:8000/v1. Wishes that the grammar does not "
        f"understand, and nothing else, are sent there. A key is in the environment variable {KEY}.",
        rich_help_panel=_PANEL,
    ),
]
LanguageModelName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The model's name there. Default: the only one that it has.", rich_help_panel=_PANEL
    ),
]
Yes = Annotated[
    bool,
    typer.Option("--yes", help="Take what the language model understood without asking.", rich_help_panel=_PANEL),
]
