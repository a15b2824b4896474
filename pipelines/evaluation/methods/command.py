"""A program of somebody else's as a method: a folder of LQ photos in, a folder of results out (recipe.py).

What a call gave and is whole is taken, whatever the call's end; the other photos have failed, each with a sentence. A
program cannot outlive the evaluation: it runs under a keeper that ends it with its process group as soon as this
process is gone. What it moved into a group or session of its own is not ended. A result is read where it is a regular
file of a size that a photo can have; of what the program prints, the end alone is read.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from instructrestore.dataengine.photos import photo_file
from instructrestore.dataengine.running.on_ray.servers import keeper
from instructrestore.dataengine.running.stage import Failed, StopStage
from instructrestore.model.restoring.output import to_uint8
from instructrestore.pipelines.evaluation.methods.photos import PhotoArray, checked, shrunk
from instructrestore.pipelines.evaluation.methods.recipe import MethodRecipe
from instructrestore.shards.errors import MAX_LENGTH

SCALE = 4  # of recipes that ask for small photos
MOST_FAILED_CALLS = 3  # without a single result: then the program or its environment is at fault, not a photo
_LOG_BYTES = 8192
# At the most of a result: uncompressed RGBA in 32 bits, and the file's own headers and profile.
_PIXEL_BYTES, _FILE_BYTES = 16, 1 << 20
# Of this program's own environment, which is not the other one's.
_NOT_FOR_THE_PROGRAM = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


class CommandMethod:
    """The recipe's program. methods: the folder of methods. seed: the evaluation's. device: as torch names it; None:
    whatever the program finds."""

    def __init__(self, recipe: MethodRecipe, methods: Path, seed: int, device: str | None) -> None:
        self._recipe, self._methods = recipe, methods
        self._seed = seed % (1 << 31)  # numpy takes no more than 32 bits
        self._environment = _environment(recipe, device)
        self._failed_calls = 0

    def __call__(self, lq: Sequence[PhotoArray], seeds: Sequence[int]) -> list[PhotoArray | Failed]:
        """Photos of one size -> their results in order. Of a call that failed, what has no result is tried once more,
        each photo alone: one of them may be to blame for all.

        Raises StopStage where call after call gives nothing.
        """
        assert len(lq) == len(seeds)
        results, ended_well = self._call(lq)
        if ended_well or len(lq) == 1:
            return results
        return [self._call([lq[n]])[0][0] if isinstance(each, Failed) else each for n, each in enumerate(results)]

    def _call(self, lq: Sequence[PhotoArray]) -> tuple[list[PhotoArray | Failed], bool]:
        """One run of the program; also whether it ended by itself and well."""
        small = [_png(photo, self._recipe.lq == "small") for photo in lq]
        with tempfile.TemporaryDirectory(prefix="instructrestore-", ignore_cleanup_errors=True) as work:
            folders = Path(work, "lq"), Path(work, "out")
            for folder in folders:
                folder.mkdir()
            keys = [f"photo-{number:03d}" for number in range(len(lq))]
            for key, data in zip(keys, small, strict=True):
                (folders[0] / f"{key}.png").write_bytes(data)
            ending = self._run(*folders, Path(work, "log"))
            results = [self._result(folders[1], key, photo, ending) for key, photo in zip(keys, lq, strict=True)]
        if all(isinstance(each, Failed) for each in results):
            self._failed_calls += 1
            if self._failed_calls == MOST_FAILED_CALLS:
                why = next(each.error for each in results if isinstance(each, Failed))
                raise StopStage(
                    f"{MOST_FAILED_CALLS} calls in a row gave no result, the last one because {why}; put that right "
                    "and run this again"
                )
        else:
            self._failed_calls = 0
        return results, not ending

    def _run(self, lq: Path, out: Path, log: Path) -> str:
        """Runs the program. Returns how it failed, with the end of what it said, or ""."""
        words = self._recipe.words(self._methods, lq, out, self._seed)
        with log.open("w+b") as errors, log.with_suffix(".out").open("w+b") as output:
            process = subprocess.Popen(
                [sys.executable, "-I", keeper.__file__, *words],
                cwd=self._recipe.checkout(self._methods),
                env=self._environment,
                stdin=subprocess.PIPE,  # held open: the keeper's sign that this process lives
                stdout=output,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for this process, which then ends the program
            )
            try:
                status: int | None = process.wait(self._recipe.timeout_s)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                _end(process)
            said = _last_line(errors) or _last_line(output)
        if status == 0:
            return ""
        name, limit = self._recipe.name, self._recipe.timeout_s
        how = f"took longer than {limit:g} s (timeout_s)" if status is None else f"ended with exit status {status}"
        return f"{name} {how}" + (f": {said}" if said else "")

    def _result(self, out: Path, key: str, photo: PhotoArray, ending: str) -> PhotoArray | Failed:
        name = self._recipe.name
        file = out / self._recipe.result_of(key)
        height, width = photo.shape[:2]
        # Not Path.resolve, which raises RuntimeError for a loop of links.
        real, folder = os.path.realpath(file), os.path.realpath(out)
        if not Path(real).is_relative_to(folder):
            return Failed(f"{name} put a result out of its folder")
        try:
            rgb = photo_file.decode(_file_bytes(real, _PIXEL_BYTES * height * width + _FILE_BYTES)).rgb
        except _NoResult as fault:
            return Failed(f"a result of {name} {fault}")
        except (FileNotFoundError, NotADirectoryError):
            return Failed(ending or f"{name} ended well but wrote no {self._recipe.result}")
        except OSError as error:
            return Failed(f"a result of {name} cannot be read: {error.strerror}")
        except photo_file.UnusablePhoto as fault:
            return Failed(ending or f"a result of {name} is unusable: {fault.reason}")
        if rgb.shape != photo.shape:
            there, wide = rgb.shape[:2]
            return Failed(f"a result of {name} is {wide}x{there} and its HQ photo {width}x{height}")
        return rgb


class _NoResult(Exception):
    """A file that is not read, with the reason."""


def _file_bytes(file: str, most: int) -> bytes:
    """A regular file of at most so many bytes. Anything else raises _NoResult: a FIFO, say, could be waited for without
    end."""
    with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)) as opened:
        found = os.fstat(opened.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _NoResult("is no regular file")
        data = opened.read(most + 1) if found.st_size <= most else b""
        if found.st_size > most or len(data) > most:  # the latter where somebody still writes it
            raise _NoResult(f"is a file of more than {most} bytes, which no photo of its size needs")
        return data


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the program with its process group, if it still runs."""
    assert process.stdin
    process.stdin.close()
    try:
        process.wait(2 * keeper.GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _environment(recipe: MethodRecipe, device: str | None) -> dict[str, str]:
    """Variables for the program; CUDA_VISIBLE_DEVICES shows it the device alone."""
    known = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_THE_PROGRAM}
    kind, _, number = (device or "").partition(":")
    if kind == "cpu":
        known["CUDA_VISIBLE_DEVICES"] = ""
    elif kind == "cuda" and number:
        shown = [each for each in known.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
        known["CUDA_VISIBLE_DEVICES"] = shown[int(number)] if int(number) < len(shown) else number
    return known | {"PYTHONUNBUFFERED": "1"} | recipe.environment


def _png(photo: PhotoArray, small: bool) -> bytes:
    """The LQ photo as a file, shrunk by SCALE if `small`."""
    rgb = to_uint8(shrunk(photo, SCALE))[0] if small else checked(photo)
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _last_line(log: BinaryIO) -> str:
    """The last line that a program wrote, shortened."""
    # Neither by name, which the program may have given to another file, nor by seek, which would move its place too.
    number = log.fileno()
    text = os.pread(number, _LOG_BYTES, max(0, os.fstat(number).st_size - _LOG_BYTES)).decode("utf-8", "replace")
    lines = [" ".join(line.split()) for line in text.replace("\r", "\n").splitlines() if line.strip()]
    shown = "".join(each for each in (lines[-1] if lines else "") if each.isprintable())
    return shown[:MAX_LENGTH]
