"""What every route starts from: the app, the visitor's folder, and photos wherever they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from instructrestore.pipelines.app.app import App
from instructrestore.pipelines.app.records import ErrorSentence, PhotoRecord
from instructrestore.pipelines.app.shelf import Shelf

FAULTS = {422: {"model": ErrorSentence, "description": "What is wrong, in one sentence."}}


class Here:
    """One request's view: what its visitor may see."""

    def __init__(self, request: Request) -> None:
        self.app: App = request.app.state.app
        self.shelf: Shelf = request.state.shelf

    def photo(self, id: str) -> PhotoRecord:
        """Raises Missing."""
        return self.app.shared.photo(id) if id in self.app.shared else self.shelf.photo(id)

    def photo_file(self, id: str) -> Path:
        return self.app.shared.file(id) if id in self.app.shared else self.shelf.photo_file(id)

    def photo_folder(self, id: str) -> Path:
        """Where what is made of a photo is kept."""
        return self.app.shared.folder(id) if id in self.app.shared else self.shelf.photo_folder(id)


Visitor = Annotated[Here, Depends(Here)]


def machine_memory() -> int:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
