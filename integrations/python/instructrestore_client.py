"""A client of the HTTP API of `instructrestore app`, in this one file: copy it to where it is needed. It needs httpx.

    from instructrestore_client import Client

    with Client("http://127.0.0.1:7860", token) as app:
        restored = app.restore("dog.jpg", "make the dog clear with 0.6")  # the bytes of a PNG

The address may also be the one that the app prints, with its token. What goes wrong is an `AppError`, whose text is the
app's own sentence. Times are seconds, sizes pixels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx

Format = Literal["png", "jpeg", "webp", "avif", "tiff", "original"]
Rest = Literal["restored", "keep"]
ENDED = ("done", "failed", "cancelled", "interrupted")
_ROOT = "/api/v1/"
_PATIENCE = httpx.Timeout(40, connect=10)  # seconds; a stream of events gives a sign of life every 15


class AppError(Exception):
    """One sentence. status: of HTTP; None where nothing answered or a job failed. start, end: in an instruction."""

    def __init__(self, sentence: str, status: int | None = None, start: int | None = None, end: int | None = None):
        super().__init__(sentence)
        self.status, self.start, self.end = status, start, end


@dataclass(frozen=True)
class Health:
    """model: loading, ready or failed. queue: jobs that wait."""

    status: str
    version: str
    model: str
    queue: int


@dataclass(frozen=True)
class Model:
    """sampling: every setting with the model's own value. limits, formats: what the app takes and gives."""

    name: str
    base: str
    checkpoint: str | None
    state: str
    error: str
    device: str
    device_name: str
    dtype: str
    sampling: dict[str, Any]
    seconds_per_megapixel_step: float | None
    limits: dict[str, Any]
    lifetime_hours: float
    formats: tuple[str, ...] = ("png",)


@dataclass(frozen=True)
class Photo:
    """notes: what was noticed when it was read. own: whether it was brought, and not in the app's own folder."""

    id: str
    name: str
    width: int
    height: int
    bytes: int
    notes: tuple[str, ...]
    created: float
    own: bool


@dataclass(frozen=True)
class Mask:
    """Of one photo. share: of the photo that is inside."""

    id: str
    photo: str
    width: int
    height: int
    share: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Segment:
    """name: the likeliest; sure: whether it can be relied on. area: share of the photo. box: x, y, width, height."""

    id: int
    name: str
    sure: bool
    area: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Segments:
    """names: captions of what the photo surely shows. vocabulary: all names that are known."""

    width: int
    height: int
    segments: tuple[Segment, ...]
    names: tuple[str, ...]
    vocabulary: tuple[str, ...]


@dataclass(frozen=True)
class Instruction:
    """text: in canonical form. regions: (caption, scale) each. model: the language model that read it, if one did."""

    text: str
    regions: tuple[tuple[str, float], ...]
    others: float
    bokeh: bool
    model: str | None = None


@dataclass(frozen=True)
class Result:
    """A picture that a job made. caption, share: of a mask. scale: of a picture of a sweep."""

    name: str
    kind: str
    title: str
    width: int
    height: int
    caption: str = ""
    share: float | None = None
    scale: float | None = None


@dataclass(frozen=True)
class Job:
    """state: queued, running, done, failed, cancelled or interrupted. position: in the queue, from 0."""

    id: str
    photo: str
    folder: str | None
    kind: str
    instruction: str
    state: str
    doing: str
    position: int | None
    step: int
    steps: int
    created: float
    started: float | None
    ended: float | None
    seconds: float | None
    expected_seconds: float | None
    error: str
    notes: tuple[str, ...]
    results: tuple[Result, ...]
    command: str
    python: str
    asked: dict[str, Any]
    record: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True)
class Folder:
    """Many photos, a job each. left: those that are not over yet."""

    id: str
    jobs: tuple[Job, ...]
    done: int
    failed: int
    left: int
    expected_seconds: float | None


# A photo or mask: a file's path or its bytes, or what the app has of it already.
PhotoInput = str | Path | bytes | Photo
MaskInput = str | Path | bytes | Mask
# Own words, or (caption, scale) for each region.
Wish = str | Sequence[tuple[str, float]]
Watcher = Callable[[Job], None]


class Client:
    """address: of the app, as it prints it, or without the token, which is then given. seconds: most for an answer."""

    def __init__(
        self, address: str = "http://127.0.0.1:7860", token: str | None = None, seconds: float = 120.0
    ) -> None:
        parts = urlsplit(address)
        token = token or (parse_qs(parts.query).get("token") or [""])[0]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.address = f"{parts.scheme}://{parts.netloc}"
        self._http = httpx.Client(base_url=self.address, headers=headers, timeout=httpx.Timeout(seconds, connect=10))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # Whole pieces of work: what was uploaded for them alone is removed again.

    def restore(
        self,
        photo: PhotoInput,
        instruction: Wish,
        *,
        masks: Sequence[MaskInput | None] = (),
        rest: Rest = "restored",
        feather: int = 0,
        seed: int = 0,
        preview: bool = False,
        format: Format = "png",
        watch: Watcher | None = None,
        **settings: Any,
    ) -> bytes:
        """The restored photo's file.

        masks: one a region, None where it is to be found; none at all: all are found. rest: keep leaves all that is
        outside the regions as it was, with feather pixels of transition. preview: a small picture, in one step.
        watch: called with the job whenever it changes. settings: by name, num_inference_steps=20 and the like.
        """
        with _Borrowed(self, photo) as own:
            asked = self._wish(instruction, seed, settings, rest, feather)
            given = [None if mask is None else self._mask_id(own, mask) for mask in masks]
            job = self.wait(self.start(own, preview=preview, masks=given, **asked), watch)
            return self.result(job, "restored", format)

    def mask(self, photo: PhotoInput, instruction: Wish, *, seed: int = 0, **settings: Any) -> dict[str, bytes]:
        """Where each region is: caption -> a grey PNG of the photo's size, white inside."""
        with _Borrowed(self, photo) as own:
            job = self.wait(self.start(own, kind="mask", **self._wish(instruction, seed, settings)))
            return {each.caption: self.result(job, each.name) for each in job.results if each.kind == "mask"}

    def sweep(
        self, photo: PhotoInput, instruction: Wish, scales: Sequence[float], *, seed: int = 0, **settings: Any
    ) -> dict[float, bytes]:
        """The photo restored with each scale of the first region: scale -> a PNG."""
        with _Borrowed(self, photo) as own:
            asked = self._wish(instruction, seed, settings)
            job = self.wait(self.start(own, kind="sweep", sweep=list(scales), **asked))
            return {each.scale: self.result(job, each.name) for each in job.results if each.scale is not None}

    def segments(self, photo: PhotoInput) -> Segments:
        """What is in the photo."""
        with _Borrowed(self, photo) as own:
            return _read(Segments, self._json("POST", f"photos/{own.id}/segments"))

    # One call each.

    def health(self) -> Health:
        return _read(Health, self._json("GET", "health"))

    def model(self) -> Model:
        return _read(Model, self._json("GET", "model"))

    def upload(self, photo: str | Path | bytes, name: str | None = None) -> Photo:
        """Brings a photo's file. It stays until it is removed or the app's lifetime of photos is over."""
        data, own = _file(photo)
        return _read(Photo, self._json("POST", "photos", params={"name": name or own}, content=data))

    def photos(self) -> list[Photo]:
        return [_read(Photo, each) for each in self._json("GET", "photos")["photos"]]

    def remove(self, thing: Photo | Job) -> None:
        """A photo with its masks, jobs and results, or a job with its results."""
        self._call("DELETE", f"{'photos' if isinstance(thing, Photo) else 'jobs'}/{thing.id}")

    def upload_mask(self, photo: Photo, mask: str | Path | bytes, name: str | None = None) -> Mask:
        """Brings a mask: white where the region is; of the photo's size or aspect."""
        data, own = _file(mask)
        return _read(Mask, self._json("POST", f"photos/{photo.id}/masks", params={"name": name or own}, content=data))

    def mask_of_segments(
        self,
        photo: Photo,
        segments: Sequence[int] = (),
        feather: int = 0,
        *,
        points: Sequence[tuple[float, float]] = (),
        boxes: Sequence[tuple[float, float, float, float]] = (),
    ) -> Mask:
        """A mask of some of a photo's segments together, by their ids, by points (x, y) in them and by boxes (x, y,
        width, height) around them, in the photo's pixels."""
        body = {"segments": list(segments), "points": list(points), "boxes": list(boxes), "feather": feather}
        return _read(Mask, self._json("POST", f"photos/{photo.id}/masks/segments", json=body))

    def mask_file(self, mask: Mask) -> bytes:
        """A grey PNG of the photo's size."""
        return self._call("GET", f"masks/{mask.id}").content

    def instruction(self, wish: Wish, others: float = 1.0, bokeh: bool = False) -> Instruction:
        """How a wish is understood. others, bokeh: of regions; a text says them itself."""
        body = {"text": wish} if isinstance(wish, str) else _parts(wish) | {"others": others, "bokeh": bokeh}
        return _instruction(self._json("POST", "instructions", json=body))

    def understand(self, wish: str) -> Instruction:
        """The same in any words and language, where the app was started with a language model: look at the text."""
        return _instruction(self._json("POST", "wishes", json={"text": wish}))

    def start(self, photo: Photo, instruction: str | Mapping[str, Any], **asked: Any) -> Job:
        """Puts a job into the queue and does not wait. asked: as the route `POST /jobs` takes it."""
        asked["masks"] = [each.id if isinstance(each, Mask) else each for each in asked.get("masks", ())]
        return _read(Job, self._json("POST", "jobs", json={"photo": photo.id, "instruction": instruction, **asked}))

    def jobs(self, photo: Photo | None = None) -> list[Job]:
        """The newest first."""
        params = {"photo": photo.id} if photo else {}
        return [_read(Job, each) for each in self._json("GET", "jobs", params=params)["jobs"]]

    def job(self, job: Job | str) -> Job:
        """As it is now."""
        return _read(Job, self._json("GET", f"jobs/{_id(job)}"))

    def cancel(self, job: Job | str) -> Job:
        return _read(Job, self._json("POST", f"jobs/{_id(job)}/cancel"))

    def again(self, job: Job | str) -> Job:
        """A new job, the same in all that was asked."""
        return _read(Job, self._json("POST", f"jobs/{_id(job)}/again"))

    def result(self, job: Job, name: str = "restored", format: Format = "png") -> bytes:
        """A picture that a job made, by the name it has in `job.results`."""
        params = {} if format == "png" else {"format": format}
        return self._call("GET", f"jobs/{job.id}/results/{name}", params=params).content

    def events(self) -> Iterator[Job]:
        """Jobs, as they change, until the connection ends or nothing comes for long. Raises AppError."""
        with self._events() as changes:
            yield from changes

    def wait(self, job: Job, watch: Watcher | None = None) -> Job:
        """The job once it is done. Raises AppError if it fails, is cancelled or interrupted."""
        tell = watch or (lambda _: None)
        while not job.is_over:  # anew where the stream ends
            with self._events() as changes:  # before the job is looked at, so that no end is missed in between
                tell(job := self.job(job))
                while not job.is_over and (changed := next(changes, None)):
                    if changed.id == job.id:
                        tell(job := changed)
        if job.state != "done":
            raise AppError(job.error or f"the job was {job.state}")
        return job

    @contextmanager
    def _events(self) -> Iterator[Iterator[Job]]:
        """The stream of jobs that change, open. It ends where the connection does, or is silent for too long."""
        with _said_plainly(self.address), self._http.stream("GET", _ROOT + "events", timeout=_PATIENCE) as stream:
            if stream.is_error:
                stream.read()
                raise _error(stream)
            yield _jobs_of(stream)

    # Many photos.

    def folder(
        self,
        photos: Sequence[PhotoInput],
        instruction: Wish,
        *,
        masks: Sequence[MaskInput] = (),
        rest: Rest = "restored",
        feather: int = 0,
        seed: int = 0,
        **settings: Any,
    ) -> Folder:
        """One wish for many photos; does not wait. masks: one a region, for all photos, scaled to each."""
        own = [each if isinstance(each, Photo) else self.upload(each) for each in photos]
        asked = self._wish(instruction, seed, settings, rest, feather) | {"photos": [each.id for each in own]}
        if masks:
            asked["masks"] = [self._mask_id(own[0], mask) for mask in masks]
        return _folder(self._json("POST", "folders", json=asked))

    def wait_for_folder(self, folder: Folder | str, every: float = 1.0) -> Folder:
        """The folder once nothing is left to do; failures are in its jobs."""
        while (now := _folder(self._json("GET", f"folders/{_id(folder)}"))).left:
            time.sleep(every)
        return now

    def cancel_folder(self, folder: Folder | str) -> Folder:
        return _folder(self._json("POST", f"folders/{_id(folder)}/cancel"))

    def zip(self, folder: Folder | str, format: Format = "png") -> bytes:
        """All that is done."""
        params = {} if format == "png" else {"format": format}
        return self._call("GET", f"folders/{_id(folder)}/zip", params=params).content

    def _wish(
        self, instruction: Wish, seed: int, settings: Mapping[str, Any], rest: Rest = "restored", feather: int = 0
    ) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "instruction": instruction if isinstance(instruction, str) else _parts(instruction),
            "seed": seed,
            "settings": dict(settings),
        }
        return asked if rest == "restored" else asked | {"rest": rest, "feather": feather}

    def _mask_id(self, photo: Photo, mask: MaskInput) -> str:
        return mask.id if isinstance(mask, Mask) else self.upload_mask(photo, mask).id

    def _json(self, method: str, route: str, **request: Any) -> Any:
        return self._call(method, route, **request).json()

    def _call(self, method: str, route: str, **request: Any) -> httpx.Response:
        with _said_plainly(self.address):
            response = self._http.request(method, _ROOT + route, **request)
        if response.is_error:
            raise _error(response)
        return response


class _Borrowed:
    """A photo at the app; one that was uploaded for this is removed again, with all that was made of it."""

    def __init__(self, client: Client, photo: PhotoInput) -> None:
        self._client, self._given = client, photo

    def __enter__(self) -> Photo:
        given = self._given
        self._photo = given if isinstance(given, Photo) else self._client.upload(given)
        return self._photo

    def __exit__(self, *_: object) -> None:
        if not isinstance(self._given, Photo):
            self._client.remove(self._photo)


_Record = TypeVar("_Record")


def _read(kind: type[_Record], values: Mapping[str, Any]) -> _Record:
    """A record of what the app says; what a later version of it says besides is passed over."""
    known = {field.name for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    nested = {"results": Result, "segments": Segment, "jobs": Job}

    def value(name: str, given: Any) -> Any:
        if not isinstance(given, list):
            return given
        return tuple(_read(nested[name], each) if name in nested else each for each in given)

    return kind(**{name: value(name, given) for name, given in values.items() if name in known})


def _instruction(read: Mapping[str, Any]) -> Instruction:
    regions = tuple((each["caption"], each["scale"]) for each in read["regions"])
    return Instruction(read["text"], regions, read["others"], read["bokeh"], read.get("model"))


def _folder(values: Mapping[str, Any]) -> Folder:
    return _read(Folder, values)


def _id(thing: Job | Folder | str) -> str:
    return thing if isinstance(thing, str) else thing.id


def _parts(regions: Sequence[tuple[str, float]]) -> dict[str, Any]:
    return {"regions": [{"caption": caption, "scale": scale} for caption, scale in regions]}


def _file(given: str | Path | bytes) -> tuple[bytes, str]:
    """A file's bytes and its name."""
    if isinstance(given, bytes):
        return given, "photo"
    return Path(given).read_bytes(), Path(given).name


def _jobs_of(stream: httpx.Response) -> Iterator[Job]:
    try:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                yield _read(Job, json.loads(line[5:]))
    except (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError):
        return


@contextmanager
def _said_plainly(address: str) -> Iterator[None]:
    """Faults of the connection as AppErrors."""
    try:
        yield
    except httpx.TimeoutException:
        raise AppError(f"{address} did not answer in time") from None
    except httpx.TransportError as error:
        raise AppError(f"nothing answers at {address}: is the app running? ({error})") from None


def _error(response: httpx.Response) -> AppError:
    try:
        said = response.json()
        return AppError(said["error"], response.status_code, said.get("start"), said.get("end"))
    except (ValueError, KeyError, TypeError):  # of something before the app, such as a proxy
        return AppError(f"{response.request.url} answered {response.status_code}", response.status_code)
