"""The environment that a stage's workers run in (Ray's `runtime_env`): checked before a run, and explained where Ray
cannot make it."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError
from ray.runtime_env import RuntimeEnv

from instructrestore.dataengine.running.on_ray.cluster import options
from instructrestore.dataengine.running.stage import StageSpec, StopStage

EXECUTABLE_S = 120
# What a worker needs of its Python: this program, and the same Ray.
TRY_PYTHON = "import ray, instructrestore.dataengine.running.worker; print(ray.__version__)"


def check(name: str, environment: dict[str, Any]) -> None:
    """Raises ValueError, in one sentence, where Ray would not take the environment of the stage `name`."""
    known = sorted(field for field in RuntimeEnv.known_fields if not field.startswith("_"))
    if unknown := sorted(environment.keys() - set(known)):
        raise ValueError(f"the runtime_env of {name} has no {unknown[0]!r}; it has {', '.join(known)}")
    try:
        RuntimeEnv(**environment)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the runtime_env of {name} does not hold: {' '.join(str(error).split())}") from None


def try_python(spec: StageSpec, limit_s: float) -> None:
    """Runs the stage's own Python once, on a machine of the cluster. Raises StopStage where that is in vain.

    Ray itself starts a worker whose Python cannot run again and again, and says nothing.
    """
    python = spec.runtime_env.get("py_executable")
    if not python:
        return
    given = options(spec)
    environment = {key: value for key, value in given["runtime_env"].items() if key != "py_executable"}
    task = ray.remote(**{**given, "runtime_env": environment, "max_retries": 1})(_run_python)
    reference = task.remote(python)
    done, _ = ray.wait([reference], timeout=limit_s)
    if not done:
        ray.cancel(reference, force=True)
        raise StopStage(f"the {spec.name} stage found no machine free to try its Python on within {limit_s:g} s")
    try:
        complaint = ray.get(reference)
    except RuntimeEnvSetupError as error:
        raise StopStage(unbuilt(spec, error)) from None
    except RayTaskError:
        raise
    except RayError:
        return  # the machine, not the environment: the workers will tell
    if complaint:
        raise StopStage(_sentence(spec, f"{python}: {complaint}"))


def unbuilt(spec: StageSpec, error: RuntimeEnvSetupError) -> str:
    """The sentence for an environment that Ray could not build."""
    return _sentence(spec, _cause(str(error)))


def _sentence(spec: StageSpec, cause: str) -> str:
    return (
        f"the environment of the {spec.name} stage cannot be made: {cause}; put its runtime_env (run.stages) right, "
        "then run again"
    )


def _run_python(python: str) -> str:
    """What is wrong with this Python; "" where nothing is."""
    try:
        ended = subprocess.run(
            [*shlex.split(python), "-c", TRY_PYTHON], capture_output=True, text=True, timeout=EXECUTABLE_S, check=False
        )
    except OSError as error:
        return str(error.strerror or error)
    except subprocess.TimeoutExpired:
        return f"no answer within {EXECUTABLE_S} s"
    if ended.returncode:
        return _cause(ended.stderr) or f"exit status {ended.returncode}"
    version = ended.stdout.strip().splitlines()[-1]
    return "" if version == ray.__version__ else f"it has Ray {version}, the cluster {ray.__version__}"


def _cause(text: str) -> str:
    """The line of a traceback or of an installer's log that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("ERROR:", "error:", "× "))]
    last = said[-1] if said else lines[-1] if lines else ""
    return re.sub(r"^(ERROR|error|[\w.]*(Error|Exception)):\s*", "", last).rstrip(". ")[:300]
