"""The command `instructrestore app`. Imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Annotated

import typer

from instructrestore.pipelines.inference import flags as model_flags
from instructrestore.pipelines.understanding import flags as wish_flags
from instructrestore.pipelines.understanding.confirming import wish_model_named

HELP = """Open the app in the browser: look, point, brush, restore, compare; or look through a data set.

instructrestore app

instructrestore app run/dataset

instructrestore app photos/ --base BASE --checkpoint CHECKPOINT --dtype bfloat16

It prints an address with a token; who has it may use the app. The same routes are an HTTP API, described at /docs.
"""
TOKEN = "INSTRUCTRESTORE_TOKEN"


def app(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PHOTO...",
            help="Photos, or folders of them, to begin with; or the folder of a data set, to look through. They are "
            "never changed.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0: any that is free.")] = 7860,
    host: Annotated[
        str, typer.Option(help="The network it listens on. Any but this machine's own needs --token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(envvar=TOKEN, help="The token, of 16 characters at least. Default: a random one.")
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A name of this machine by which browsers elsewhere may call it; repeatable."
        ),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the address in the browser.")] = True,
    folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where photos and results are. Default: ~/.cache/instructrestore/app."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write every restored photo there too, as NAME.png; nothing is overwritten."
        ),
    ] = None,
    lifetime: Annotated[
        float, typer.Option(metavar="HOURS", help="Photos and results are removed after so many hours.")
    ] = 168.0,
    segments: Annotated[
        str,
        typer.Option(
            metavar="auto|embedded|MODEL",
            help="What finds the things one points at: the embedded annotator, SAM 2.1, or an "
            "instance segmenter (Mask2Former, MaskFormer), by hub id or folder. auto: SAM 2.1 where "
            "facebook/sam2.1-hiera-large was downloaded and a GPU is there.",
        ),
    ] = "auto",
    base: model_flags.Base = None,
    checkpoint: model_flags.Checkpoint = None,
    base_revision: model_flags.BaseRevision = None,
    checkpoint_revision: model_flags.CheckpointRevision = None,
    device: Annotated[
        str | None, typer.Option(help="A torch device: cuda, cuda:1, cpu. Default: a GPU if there is one.")
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="float32|bfloat16|float16|float8", help="Precision.")] = "float32",
    batch: Annotated[int, typer.Option(min=1, max=64, help="How many photos of one size to restore together.")] = 1,
    language_model: wish_flags.LanguageModel = None,
    language_model_name: wish_flags.LanguageModelName = None,
) -> None:
    if checkpoint and not base:
        raise ValueError("--checkpoint needs the base that it was trained for: name it with --base")
    _check_host(host, token)
    wishes = wish_model_named(language_model, language_model_name)
    from instructrestore.pipelines.terminal.packages import check_installed

    check_installed("app", "fastapi", "uvicorn", "sse_starlette", "prometheus_client", "fastapi_offline")
    from instructrestore.pipelines.app.run import dataset_among, listen, photo_files, run
    from instructrestore.pipelines.app.settings import FOLDER, AppSettings

    place = (folder or Path(FOLDER)).expanduser().absolute()
    dataset, rest = dataset_among(photos or ())
    files = photo_files(rest)
    listening = listen(host, port)
    from instructrestore.pipelines.inference.model_source import ModelSource

    source = ModelSource.named(
        base,
        checkpoint,
        typer.echo,
        dtype=dtype,
        device=device,
        base_revision=base_revision,
        checkpoint_revision=checkpoint_revision,
    )
    source.check_runnable(None)
    from instructrestore.pipelines.inference.segment_models import chosen_segments

    settings = AppSettings(
        source=source, folder=place, token=token or secrets.token_urlsafe(24), host=host,
        port=listening.getsockname()[1], names=tuple(name or ()), photos=tuple(files), lifetime_hours=lifetime,
        batch=batch, out=out and out.absolute(), segments=chosen_segments(segments, device), dataset=dataset,
        wishes=wishes,
    )  # fmt: skip
    if out:
        out.mkdir(parents=True, exist_ok=True)
    settings.check()
    run(settings, listening, browser and "INSTRUCTRESTORE_NO_BROWSER" not in os.environ)


def _check_host(host: str, token: str | None) -> None:
    """Raises ValueError for a network that others are on, where no token was chosen for them."""
    from instructrestore.pipelines.app.settings import LOOPBACK

    if host in LOOPBACK:
        return
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        raise ValueError(f"--host {host} is no address of this machine") from None
    if not token:
        raise ValueError(
            f"--host {host} lets others on the network in: choose a token for them with --token (or {TOKEN}), of 16 "
            "characters at least; traffic is not encrypted, so put a server with TLS in front"
        )
