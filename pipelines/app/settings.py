"""What an app is started with, and the limits it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from instructrestore.dataengine.photos.photo_file import MAX_PIXELS
from instructrestore.pipelines.inference.model_source import ModelSource
from instructrestore.pipelines.inference.segment_settings import SegmentModel
from instructrestore.pipelines.understanding.wishes import WishModel

LOOPBACK = ("127.0.0.1", "localhost", "::1")
FOLDER = "~/.cache/instructrestore/app"
LIFETIME_HOURS = 168.0
LEAST_TOKEN = 16  # characters


@dataclass(frozen=True)
class Limits:
    """What a visitor may have. bytes: of one file. pixels: of one photo. photos, jobs: of one session.

    waiting: jobs in the queue, of everyone. room: bytes that stay free on the disk.
    """

    bytes: int = 256 << 20
    pixels: int = MAX_PIXELS
    photos: int = 2000
    jobs: int = 10_000
    waiting: int = 20_000
    room: int = 512 << 20


@dataclass(frozen=True)
class AppSettings:
    """source: the model. folder: where photos and results are. token: who knows it may use the app.

    host, port: where it listens. names: of this machine besides the host, as they may stand in the address.
    photos: files that every visitor sees. out: a folder into which every restored photo is written too.
    lifetime_hours: after that photos and results are removed. batch: how many photos of one size are restored together.
    segments: what finds the things one points at; None: the embedded annotator.
    dataset: the folder of a data set to browse; None: there is none.
    wishes: the language model that reads what the grammar does not understand; None: nobody is asked.
    """

    source: ModelSource
    folder: Path
    token: str
    host: str = "127.0.0.1"
    port: int = 7860
    names: tuple[str, ...] = ()
    photos: tuple[Path, ...] = ()
    lifetime_hours: float = LIFETIME_HOURS
    batch: int = 1
    out: Path | None = None
    segments: SegmentModel | None = None
    dataset: Path | None = None
    wishes: WishModel | None = None
    limits: Limits = field(default_factory=Limits)

    def check(self) -> None:
        """Raises ValueError, in one sentence, for what would be unsafe or cannot be used."""
        if len(self.token) < LEAST_TOKEN:
            raise ValueError(f"the token must have at least {LEAST_TOKEN} characters: it is all that keeps others out")
        if not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise ValueError("the token must be of printable ASCII characters without blanks")
        if self.lifetime_hours <= 0:
            raise ValueError("--lifetime must be more than 0 hours")

    @property
    def home(self) -> str:
        """The page that the printed address leads to."""
        return "/dataset" if self.dataset else "/"

    @property
    def address(self) -> str:
        """What is typed into a browser."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/?token={self.token}"
