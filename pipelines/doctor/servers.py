"""Language models: running servers are asked for their model; for those that a build starts, what they need."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx

from instructrestore.dataengine.running.server_settings import ServerSettings
from instructrestore.dataengine.serving.served_models import models_in
from instructrestore.dataengine.weights.needs import ServerNeed, WeightsNeed
from instructrestore.pipelines.doctor.findings import Finding
from instructrestore.pipelines.doctor.weights import check_weights
from instructrestore.shards.errors import first_line

LIMIT_S = 5.0
_VLLM = "import importlib.metadata as m; print(m.version('vllm'))"

# As stated on the publishers' cards on the hub.
LICENCES = {
    "Qwen2.5-7B-Instruct": "Apache-2.0",
    "Qwen2.5-72B-Instruct": "Qwen LICENSE AGREEMENT",
    "Qwen3-VL-8B-Instruct": "Apache-2.0",
}


def check_server(need: ServerNeed) -> list[Finding]:
    """The findings about a language model, wherever it runs."""
    server = need.server
    licence = LICENCES.get(server.model.rpartition("/")[2], "")
    if server.where == "running":
        found = list(_running(need))
        return [*found, Finding("ok", need.name, f"licence of {server.model}: {licence or 'see its card'}")]
    files = ("config.json", "*.safetensors", "tokenizer*|vocab*")
    setting = f"{need.setting}.vllm.folder" if server.vllm.folder else f"{need.setting}.model"
    model = server.vllm.folder or server.model
    weights = WeightsNeed(need.name, setting, model, server.revision, files, licence, device="server")
    return [_vllm(need), check_weights(weights)]


def _running(need: ServerNeed) -> Iterator[Finding]:
    server = need.server
    try:
        key = server.key()
    except ValueError as error:
        yield Finding("missing", need.name, str(error), f"export {server.api_key_env}=..., on every machine of the run")
        return
    if server.api_key_env:
        yield Finding("ok", need.name, f"its key is in {server.api_key_env}")
    with ThreadPoolExecutor(len(server.urls)) as pool:
        found = list(pool.map(lambda url: _asked(need, url, key), server.urls))
    if any(finding.level == "ok" for finding in found):  # the build uses those that answer
        found = [Finding("warning", f.what, f.text, f.fix) if f.level == "missing" else f for f in found]
    yield from found


def _asked(need: ServerNeed, url: str, key: str) -> Finding:
    """Whether a server answers and has the model."""
    server = need.server
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    start = f"start it, as in: vllm serve {server.model}; or correct {need.setting}.urls"
    try:
        with httpx.Client(timeout=LIMIT_S, headers=headers, follow_redirects=False) as client:
            answer = client.get(f"{url}/models")
            health = client.get(f"{url.removesuffix('/v1')}/health")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = f"nothing within {LIMIT_S:g} s" if isinstance(error, httpx.TimeoutException) else first_line(error)
        return Finding("missing", need.name, f"{url} does not answer: {why}", start)
    if answer.status_code in (401, 403):
        fix = f"name the environment variable that holds its key in {need.setting}.api_key_env"
        return Finding("missing", need.name, f"{url} does not accept the key (HTTP {answer.status_code})", fix)
    if health.status_code >= 500:
        return Finding("missing", need.name, f"{url} reports that it is unhealthy (HTTP {health.status_code})", start)
    models = models_in(answer.status_code, answer.content)
    if models is None:
        text = f"{url} answers but lists no models (HTTP {answer.status_code}): it may not have {server.model}"
        return Finding(
            "warning",
            need.name,
            text,
            f"check that {need.setting}.urls ends in the path that the server expects, as in /v1",
        )
    if server.model not in models:
        text = f"{url} has {', '.join(sorted(models)[:3]) or 'no model'}, not {server.model}"
        return Finding("missing", need.name, text, f"set {need.setting}.model to a model that it has")
    return Finding("ok", need.name, f"{url} answers and has {server.model}")


def _vllm(need: ServerNeed) -> Finding:
    """The vLLM on this machine with which a build would run the model."""
    server: ServerSettings = need.server
    python = server.vllm.python
    fix = "pip install vllm, in an environment of its own, and name its Python in " + f"{need.setting}.vllm.python"
    if not python:
        try:
            return Finding("ok", need.name, f"vLLM {version('vllm')}, in the build's own environment")
        except PackageNotFoundError:
            return Finding("missing", need.name, "vLLM is not installed in the build's own environment", fix)
    if not Path(python).is_file():
        return Finding("missing", need.name, f"there is no Python {python} on this machine", fix)
    try:
        ended = subprocess.run([python, "-c", _VLLM], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("missing", need.name, f"{python} cannot be run: {first_line(error)}", fix)
    if ended.returncode:
        return Finding("missing", need.name, f"vLLM is not installed for {python}", fix)
    return Finding("ok", need.name, f"vLLM {ended.stdout.strip()}, for {python}")
