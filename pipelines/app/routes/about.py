"""What works here: the model and the machine, health, metrics."""

from __future__ import annotations

import platform
import resource
import sys
from typing import Any, get_args

import torch
from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from pydantic import BaseModel

from instructrestore import __version__
from instructrestore.model.instruction.instruction import MAX_REGIONS, MAX_SCALE
from instructrestore.model.restoring.sizes import MIN_SIDE
from instructrestore.model.restoring.small_model import SMALL
from instructrestore.pipelines.app.routes.here import Visitor, machine_memory
from instructrestore.pipelines.pictures.output_file import AskedFormat

router = APIRouter(tags=["about"])
at_the_root = APIRouter(tags=["about"])


class Health(BaseModel):
    status: str
    version: str
    model: str
    queue: int


class ModelCard(BaseModel):
    """The model, the machine, and what both can take. language_model: whether one reads wishes (/wishes)."""

    name: str
    base: str
    checkpoint: str | None
    state: str
    error: str
    device: str
    device_name: str
    dtype: str
    memory_mib: int
    total_memory_mib: int
    segmenter: str
    language_model: bool
    sampling: dict[str, Any]
    seconds_per_megapixel_step: float | None
    limits: dict[str, int]
    formats: list[str]
    lifetime_hours: float
    folder: str


@router.get("/health")
def health(request: Request) -> Health:
    """Whether the app is there, and whether its model is: loading, ready or failed."""
    app = request.app.state.app
    return Health(status="ok", version=__version__, model=app.bench.state, queue=app.queue.length)


@router.get("/model")
def model(here: Visitor) -> ModelCard:
    """Which model restores, on which machine, with which settings of its own and which limits."""
    bench, settings = here.app.bench, here.app.settings
    device = settings.source.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_gpu = torch.device(device).type == "cuda"
    record = bench.weights
    base = settings.source.base if settings.source.base == SMALL else record["base"]
    return ModelCard(
        name=base if not record["checkpoint"] else f"{base} with {record['checkpoint']}",
        base=base,
        checkpoint=record["checkpoint"],
        state=bench.state,
        error=bench.error,
        device=device,
        device_name=torch.cuda.get_device_name(device) if on_gpu else _processor(),
        dtype=settings.source.dtype,
        memory_mib=_used_mib(on_gpu),
        total_memory_mib=(torch.cuda.mem_get_info(device)[1] if on_gpu else machine_memory()) >> 20,
        segmenter=here.app.segmenter.name,
        language_model=settings.wishes is not None,
        sampling=bench.own.model_dump(mode="json"),
        seconds_per_megapixel_step=bench.speed.seconds,
        limits={
            "pixels": settings.limits.pixels, "bytes": settings.limits.bytes, "regions": MAX_REGIONS,
            "least_side": MIN_SIDE, "scale": int(MAX_SCALE), "upscale": 8, "steps": 1000,
            "photos": settings.limits.photos,
        },
        formats=list(get_args(AskedFormat)),
        lifetime_hours=settings.lifetime_hours,
        folder=str(settings.folder),
    )  # fmt: skip


@at_the_root.get("/metrics", response_class=Response)
def metrics(here: Visitor) -> Response:
    """Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collected(here.app))  # pyright: ignore[reportArgumentType]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Collected:
    """The numbers of now."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def collect(self) -> Any:
        queue = self._app.queue
        ended = CounterMetricFamily("instructrestore_jobs", "Jobs that ended.", labels=["state"])
        for state in ("done", "failed", "cancelled", "interrupted"):
            ended.add_metric([state], queue.ended[state])
        yield ended
        yield CounterMetricFamily("instructrestore_work_seconds", "Seconds of work on jobs.", value=queue.work_seconds)
        yield GaugeMetricFamily("instructrestore_queue", "Jobs that wait or are being done.", value=queue.length)
        ready = float(self._app.bench.state == "ready")
        yield GaugeMetricFamily("instructrestore_model_ready", "1 once the model is loaded.", value=ready)
        used = float(_used_mib(False) << 20)
        yield GaugeMetricFamily("instructrestore_memory_bytes", "Most memory this process had.", value=used)


def _used_mib(on_gpu: bool) -> int:
    """The most that this process has had so far."""
    if on_gpu:
        return torch.cuda.max_memory_allocated() >> 20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
