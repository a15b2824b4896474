"""The inputs of every node as ComfyUI asks for them: name -> (type or choices, options)."""

from __future__ import annotations

from typing import Any

PIPE, REGIONS = "INSTRUCTRESTORE", "INSTRUCTRESTORE_REGIONS"  # the types of our own wires
AS_COMFYUI = "as ComfyUI"

_INSTRUCTION = (
    "STRING",
    {
        "default": "make the dog clear with 0.6 and keep other parts clear with 1",
        "multiline": True,
        "tooltip": "What is to be restored, in words. A lower scale invents more detail, a higher one holds closer to "
        "the photo.",
    },
)
_SEED = (
    "INT",
    {
        "default": 0,
        "min": 0,
        "max": 2**64 - 1,
        "control_after_generate": True,
        "tooltip": "Of the noise, the same for every image.",
    },
)
_LINKED_REGIONS = (REGIONS, {"tooltip": "From Several regions: takes the place of the instruction's text."})


def load_inputs() -> dict[str, Any]:
    return {
        "required": {
            "base": (
                "STRING",
                {
                    "default": "small",
                    "tooltip": "small, or Stable Diffusion 2.1-base or a saved pipeline: a folder or a hub id.",
                },
            ),
            "checkpoint": (
                "STRING",
                {
                    "default": "",
                    "tooltip": "The trained ControlNet: a folder or a hub id. Empty: the base has its own.",
                },
            ),
            "device": ([AS_COMFYUI, "cuda", "mps", "cpu"], {"default": AS_COMFYUI}),
            "dtype": (
                ["float32", "bfloat16", "float16"],
                {"default": "float32", "tooltip": "bfloat16 halves the memory on a GPU; float32 on a CPU."},
            ),
        }
    }


def restore_inputs() -> dict[str, Any]:
    model = "0: as the model asks for."
    return {
        "required": {
            "pipe": (PIPE,),
            "image": ("IMAGE",),
            "instruction": _INSTRUCTION,
            "seed": _SEED,
            "steps": ("INT", {"default": 0, "min": 0, "max": 1000, "tooltip": f"Denoising steps. {model}"}),
            "guidance": (
                "FLOAT",
                {"default": 0.0, "min": 0.0, "max": 50.0, "step": 0.1, "tooltip": f"1 turns guidance off. {model}"},
            ),
            "upscale": ("FLOAT", {"default": 1.0, "min": 0.05, "max": 8.0, "step": 0.05}),
            "rest": (
                ["restored", "keep"],
                {"default": "restored", "tooltip": "keep: everything outside the regions stays as it was."},
            ),
            "feather": (
                "INT",
                {
                    "default": 0,
                    "min": 0,
                    "max": 1000,
                    "tooltip": "Pixels from region to rest, where the rest is kept.",
                },
            ),
        },
        "optional": {
            "regions": _LINKED_REGIONS,
            "mask": (
                "MASK",
                {
                    "tooltip": "Where the regions are: one mask a region in the instruction's order, for all "
                    "images or image by image. Not linked: they are found by their words."
                },
            ),
        },
    }


def mask_inputs() -> dict[str, Any]:
    return {
        "required": {"pipe": (PIPE,), "image": ("IMAGE",), "instruction": _INSTRUCTION, "seed": _SEED},
        "optional": {"regions": _LINKED_REGIONS},
    }


def region_inputs() -> dict[str, Any]:
    last = "Of a row of these nodes, the last one's counts."
    return {
        "required": {
            "caption": ("STRING", {"default": "the dog", "tooltip": "What the region shows."}),
            "scale": (
                "FLOAT",
                {
                    "default": 0.6,
                    "min": 0.0,
                    "max": 4.0,
                    "step": 0.05,
                    "tooltip": "Lower invents more detail, higher holds closer to the photo; 0.5 to 1.2 is useful.",
                },
            ),
            "others": (
                "FLOAT",
                {"default": 1.0, "min": 0.0, "max": 4.0, "step": 0.05, "tooltip": f"The scale of the rest. {last}"},
            ),
            "bokeh": (
                "BOOLEAN",
                {"default": False, "tooltip": f"The rest is blurred as by a wide aperture. {last}"},
            ),
        },
        "optional": {
            "regions": (REGIONS, {"tooltip": "The regions before this one."}),
            "mask": ("MASK", {"tooltip": "Where it is. Not linked: it is found by its caption."}),
        },
    }
