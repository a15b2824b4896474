"""Wishes that the grammar does not understand, read for visitors by the language model the app was started with."""

from __future__ import annotations

import threading

from instructrestore.pipelines.understanding.wishes import Understood, WishModel, WishReader

AT_ONCE = 4  # wishes that are being read at the same time, of everyone


class Wishes:
    """model: who is asked; None: nobody, and only what the grammar understands is."""

    def __init__(self, model: WishModel | None) -> None:
        self._model = model
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def read(self, text: str) -> Understood:
        """Raises ValueError, in one sentence, for what is not understood, and StopStage for a server that is away."""
        if not self._places.acquire(blocking=False):
            raise ValueError("the language model is reading other wishes: try again in a moment")
        try:
            return WishReader(self._model)(text)
        finally:
            self._places.release()
