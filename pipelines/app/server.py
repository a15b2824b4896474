"""The app's server: the guard, the routes, the page, one queue and one model behind them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from instructrestore import __version__
from instructrestore.dataengine.running.stage import StopStage
from instructrestore.model.instruction.scanner import NotUnderstood
from instructrestore.pipelines.app.app import App
from instructrestore.pipelines.app.guard import Guard, TooLarge, fault
from instructrestore.pipelines.app.records import InstructionGiven
from instructrestore.pipelines.app.routes import about, dataset, folders, jobs, judging, photos
from instructrestore.pipelines.app.settings import AppSettings
from instructrestore.pipelines.app.shelf import Missing, said_of
from instructrestore.shards.plain_text import visible_line

API = "/api/v1"
STATIC = Path(__file__).parent / "static"
EXPIRY_SECONDS = 600.0  # how often is looked for what is too old

_DOCS = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>InstructRestore: HTTP API</title>
<link rel="stylesheet" href="/docs/files/swagger-ui.css"></head><body><div id="swagger-ui"></div>
<script src="/docs/files/swagger-ui-bundle.js"></script><script src="/static/docs.js"></script></body></html>"""


def make_server(settings: AppSettings) -> FastAPI:
    """The ASGI application. Raises ValueError, in one sentence, for settings that cannot be used."""
    app = App(settings)
    server = FastAPI(
        title="InstructRestore", version=__version__, docs_url=None, redoc_url=None, openapi_url="/openapi.json",
        description="Region-customised photo restoration by instruction.", lifespan=_lifespan,
    )  # fmt: skip
    server.state.app = app
    for room in (about, photos, jobs, folders, dataset, judging):
        server.include_router(room.router, prefix=API)
    server.include_router(about.at_the_root)
    _add_pages(server)
    _add_faults(server)
    server.add_middleware(Guard, settings=settings, visitors=app.visitors)
    return server


@contextlib.asynccontextmanager
async def _lifespan(server: FastAPI) -> AsyncIterator[None]:
    app: App = server.state.app
    app.queue.start(app.visitors.all())
    if app.dataset:
        app.dataset.start()
    loop = asyncio.get_running_loop()

    async def expire_for_ever() -> None:
        while True:
            await loop.run_in_executor(None, app.expire)
            await asyncio.sleep(EXPIRY_SECONDS)

    expiring = asyncio.create_task(expire_for_ever())
    warming = loop.run_in_executor(None, app.warm)
    yield
    expiring.cancel()
    if app.dataset:
        await loop.run_in_executor(None, app.dataset.close)
    await loop.run_in_executor(None, app.queue.close)
    await warming


def _add_pages(server: FastAPI) -> None:
    @server.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})

    @server.get("/dataset", include_in_schema=False)
    def dataset_page() -> FileResponse:
        return FileResponse(STATIC / "dataset.html", headers={"Cache-Control": "no-cache"})

    @server.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(_DOCS)

    @server.get("/favicon.ico", include_in_schema=False)
    def icon() -> FileResponse:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    server.mount("/static", StaticFiles(directory=STATIC), name="static")
    swagger = Path(str(files(fastapi_offline))) / "static"
    server.mount("/docs/files", StaticFiles(directory=swagger), name="docs-files")


def _add_faults(server: FastAPI) -> None:
    """Every error is one sentence with a status."""

    @server.exception_handler(NotUnderstood)
    def not_understood(_: Request, error: NotUnderstood) -> JSONResponse:
        return fault(422, visible_line(str(error)), start=error.at, end=error.at + 1)

    @server.exception_handler(ValueError)
    def refused(_: Request, error: ValueError) -> JSONResponse:
        return fault(422, visible_line(str(error)))

    @server.exception_handler(StopStage)
    def not_answered(_: Request, error: StopStage) -> JSONResponse:
        return fault(502, visible_line(str(error)))

    @server.exception_handler(Missing)
    def missing(_: Request, error: Missing) -> JSONResponse:
        return fault(404, "there is no such thing here, or it is no longer there")

    @server.exception_handler(FileNotFoundError)
    def removed(request: Request, _: FileNotFoundError) -> JSONResponse:
        return missing(request, Missing())  # while it was being read or written

    @server.exception_handler(OSError)
    def disk(_: Request, error: OSError) -> JSONResponse:
        return fault(507, visible_line(said_of(error)))

    @server.exception_handler(TooLarge)
    def too_large(_: Request, error: TooLarge) -> JSONResponse:
        return fault(413, f"a request has at most {error.args[0]} bytes")

    @server.exception_handler(ClientDisconnect)
    def left(_: Request, error: ClientDisconnect) -> JSONResponse:
        return fault(400, "the request ended before its end")  # which nobody is there to read

    @server.exception_handler(Exception)
    def defect(_: Request, error: Exception) -> JSONResponse:
        return fault(500, f"a defect of the program ({type(error).__name__}); its log says where")

    @server.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = max(error.errors(), key=lambda each: len(each["loc"]))  # what may be of two kinds fails as both
        left_out = ("body", "query", "path", InstructionGiven.__name__)
        place = ".".join(str(part) for part in first["loc"] if part not in left_out)
        return fault(422, visible_line(f"{place}: {first['msg']}" if place else str(first["msg"])))

    @server.exception_handler(HTTPException)
    def answered(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, TooLarge):
            return too_large(request, error.__cause__)
        said = {404: "there is no such address here", 405: "this address does not take that method"}
        return fault(error.status_code, said.get(error.status_code, str(error.detail)))
