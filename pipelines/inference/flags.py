"""Options of every command that loads the model: which one it is, and how it samples."""

from __future__ import annotations

from typing import Annotated

import typer

from instructrestore.model.restoring.settings import SamplingSettings

MODEL, SAMPLING = "The model", "How it restores"  # panels of --help


def unless_named(name: str) -> str:
    """What --help says of an option without a value: a saved model may ask for its own sampling settings."""
    return f"Default: the model's own, or {SamplingSettings.model_fields[name].default}."


Base = Annotated[
    str | None,
    typer.Option(
        envvar="INSTRUCTRESTORE_BASE",
        help="Stable Diffusion 2.1-base, or a saved InstructRestorePipeline: a folder or a hub id. Default: small, the "
        "model that ships.",
        rich_help_panel=MODEL,
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        help="The trained ControlNet with its mask decoder: a folder, a training run's folder (its last checkpoint is "
        "used) or a hub id. Default: the base's own.",
        rich_help_panel=MODEL,
    ),
]
BaseRevision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a base on the hub.", rich_help_panel=MODEL)
]
CheckpointRevision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a checkpoint on the hub.", rich_help_panel=MODEL)
]
Steps = Annotated[
    int | None,
    typer.Option(help=f"Denoising steps. {unless_named('num_inference_steps')}", rich_help_panel=SAMPLING),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        help=f"Classifier-free guidance scale; 1 turns it off and halves the work. {unless_named('guidance_scale')}",
        rich_help_panel=SAMPLING,
    ),
]
Official = Annotated[
    bool,
    typer.Option(
        "--official", help="Follow the released code where it differs from the paper.", rich_help_panel=SAMPLING
    ),
]
