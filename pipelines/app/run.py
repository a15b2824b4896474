"""The app from a terminal: it listens, says where, opens the browser, and ends with Ctrl-C."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import typer
import uvicorn
from fastapi import FastAPI

from instructrestore.dataengine.running.lock import locked
from instructrestore.dataengine.sources.folder import list_folder
from instructrestore.dataengine.sources.places import local_path
from instructrestore.dataengine.sources.settings import SourceSettings
from instructrestore.pipelines.app.server import make_server
from instructrestore.pipelines.app.settings import AppSettings
from instructrestore.shards.plain_text import visible_line

ENDING_SECONDS = 5
BACKLOG = 128  # connections that wait to be answered


def dataset_among(named: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """The data set's folder among what is named, if there is one, and the rest. Raises ValueError for two of them."""
    found = [path for path in named if (path / "dataset.json").is_file()]
    runs = [path for path in named if (path / "run.json").is_file() and (path / "dataset" / "dataset.json").is_file()]
    if runs:
        raise ValueError(
            f"{visible_line(str(runs[0]))} is a run: its data set is {visible_line(str(runs[0] / 'dataset'))}"
        )
    if len(found) > 1:
        raise ValueError("name one data set: the app looks through one at a time")
    return (found[0].absolute() if found else None), [path for path in named if path not in found]


def photo_files(named: Sequence[Path]) -> list[Path]:
    """The photos that are named, and those in the folders. Raises ValueError for what is not there."""
    files: dict[str, Path] = {}
    for path in named:
        if not path.exists():
            raise ValueError(f"there is no photo or folder {visible_line(str(path))}")
        found = [path] if path.is_file() else [
            place for each in list_folder(SourceSettings(kind="folder", path=str(path)))
            if not each.problem and (place := local_path(each.uri))
        ]  # fmt: skip
        files |= {os.path.abspath(each): Path(each) for each in found}
    return list(files.values())


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens: who opens the address now waits until the server answers.

    Raises ValueError, in one sentence, where there can be none.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise ValueError(f"port {port} is taken: name another with --port, or 0 for any that is free") from None
        raise ValueError(f"cannot listen on {host} port {port}: {error.strerror}") from None
    return listening


def run(settings: AppSettings, listening: socket.socket, browser: bool) -> None:
    """Until Ctrl-C. Raises ValueError, in one sentence, if the model or the folder cannot be used."""
    folder = visible_line(str(settings.folder))
    with ExitStack() as held:
        try:
            settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            held.enter_context(_only_app(settings.folder))
            server = make_server(settings)
        except OSError as error:
            raise ValueError(f"the folder {folder} cannot be used: {error.strerror}") from None
        _serve(server, settings, listening, browser)


@contextmanager
def _only_app(folder: Path) -> Iterator[None]:
    """Two apps in one folder would take each other's jobs for interrupted. Raises ValueError where there is one."""
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder))
        except ValueError:
            raise ValueError(
                f"another app is at work in {visible_line(str(folder))}: use that one, or name another with --folder"
            ) from None
        yield


def _serve(server: FastAPI, settings: AppSettings, listening: socket.socket, browser: bool) -> None:
    logging.getLogger("instructrestore.model").addHandler(logging.NullHandler())  # its reports are shown with each job
    typer.echo(f"photos and results are in {visible_line(str(settings.folder))} for {settings.lifetime_hours:g} hours")
    typer.echo(f"open {settings.address}")
    if browser:
        threading.Timer(0.5, webbrowser.open, [settings.address]).start()
    config = uvicorn.Config(
        server, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=ENDING_SECONDS,
        timeout_keep_alive=30, ws="none",
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])
