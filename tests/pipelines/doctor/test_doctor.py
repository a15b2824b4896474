"""What the doctor says of settings, servers, weights and machines that are as they should be, and that are not.

Servers and the hub are real ones on this machine, small; so are folders, caches and checkouts.
"""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from rich.console import Console

from instructrestore.dataengine.annotator.installed import shipped
from instructrestore.pipelines import cli
from instructrestore.pipelines.building.presets import PRESETS, embedded, read_build_settings, with_values
from instructrestore.pipelines.doctor import machine, servers
from instructrestore.pipelines.doctor.doctor import doctor
from instructrestore.pretrained import brisque, installed
from instructrestore.shards.paths import ObjectPath, Place, names

Answers = dict[str, tuple[int, Any]]
SAM2 = {"config.json": b"{}", "model.safetensors": b"weights"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, an empty cache, a hub that nobody reaches; tests put there what they are about."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")


def said(out: Place | None = None, **values: Any) -> tuple[bool, str]:
    """Whether the build can run, and all that was said."""
    shown = io.StringIO()
    fine = doctor(with_values(embedded(), values), out, Console(file=shown, width=400))
    return fine, shown.getvalue()


def line(text: str, what: str) -> tuple[str, str, str]:
    """Level, text and fix of the only finding about `what`."""
    lines = text.splitlines()
    [place] = [n for n, each in enumerate(lines) if each[10:].startswith(f"{what}  ")]
    level, _, rest = lines[place].strip().partition(" ")
    follows = lines[place + 1].strip() if place + 1 < len(lines) else ""
    return level, rest.strip().removeprefix(what).strip(), follows[3:] if follows.startswith("-> ") else ""


def test_the_weights_of_the_embedded_annotator() -> None:
    fine, text = said()
    assert fine
    for need in (shipped(), installed.backbone()):
        lines = [each for each in text.splitlines() if f"weights of {need.name} " in each]
        assert len(lines) == 2  # of masks and of descriptions
        assert all("ok" in each and need.sha256 in each and "licence: Apache-2.0" in each for each in lines)
    assert line(text, "weights of BRISQUE")[0] == "ok" and brisque.SHA256 in text
    colour = {"masks": {"segmenter": "colour"}, "descriptions": {"describer": "colour"}}
    _, text = said(**colour, quality_gate={"metric": "embedded"})
    assert "weights of" not in text


def test_damaged_weights_of_the_embedded_annotator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = replace(installed.backbone(), path=tmp_path / "backbone.pth")
    monkeypatch.setattr(installed, "backbone", lambda: damaged)
    values = {"descriptions": {"describer": "colour"}}
    fine, text = said(**values)
    assert not fine
    level, what, fix = line(text, "weights of the image classifier")
    assert (level, fix) == ("missing", damaged.fix) and what.startswith("not installed")
    (tmp_path / "backbone.pth").write_bytes(b"something else")
    fine, text = said(**values)
    assert not fine and line(text, "weights of the image classifier")[1].startswith("damaged: the sha256 of ")


@contextmanager
def serving(answers: Callable[[str, dict[str, str]], tuple[int, Any, dict[str, str]]]) -> Iterator[str]:
    """A server on this machine: path and headers -> status, JSON (or bytes) and headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content, headers = answers(self.path, dict(self.headers))
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def model_server(*models: str, health: int = 200, key: str = "") -> Any:
    def answers(path: str, headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        if path == "/health":
            return health, b"", {}
        if key and headers.get("Authorization") != f"Bearer {key}":
            return 401, {"error": "key"}, {}
        return (200, {"data": [{"id": name} for name in models]}, {}) if path == "/v1/models" else (404, b"", {})

    return serving(answers)


def asked(*urls: str, model: str = "Qwen/Qwen2.5-7B-Instruct", **server: Any) -> dict[str, Any]:
    """Settings whose first round asks a server."""
    given = {"urls": [f"{url}/v1" for url in urls], "model": model, **server}
    return {"noun_phrases": {"small": {"kind": "server", "server": given}}}


def weights_in(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def sam2(model: object, revision: str = "main", **more: Any) -> dict[str, Any]:
    return {"masks": {"segmenter": "sam2", "sam2": {"model": str(model), "revision": revision, **more}}}


# The command


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["instructrestore", "doctor", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command_s_status_is_0_1_or_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert call(monkeypatch, "--out", str(tmp_path / "run")) == 0
    text = capsys.readouterr().out
    assert "nothing is missing" in text and "torch" in text and "run folder" in text
    assert not (tmp_path / "run").exists()
    assert call(monkeypatch, "--set", "masks.segmenter=sam2") == 1
    assert "this build cannot run here" in capsys.readouterr().out
    assert call(monkeypatch, "--set", "masks.segmenter=sam3") == 2
    assert call(monkeypatch, "--preset", "papre") == 2
    assert "there is no preset" in capsys.readouterr().err


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_looked_at(preset: str, capsys: pytest.CaptureFixture) -> None:
    shown = io.StringIO()
    doctor(read_build_settings(preset, None, ()), None, Console(file=shown, width=200))
    assert shown.getvalue().splitlines()[-1].startswith(("nothing is missing", *"123456789"))
    assert "hf_secret" not in shown.getvalue()


def test_lines_are_aligned_and_fit_a_terminal(tmp_path: Path) -> None:
    shown = io.StringIO()
    doctor(with_values(embedded(), sam2("a/b")), tmp_path, Console(file=shown, width=80))
    lines = shown.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    levels = [each[:8] for each in lines if each[:8].strip() in ("ok", "warning", "missing")]
    assert len(levels) > 8 and all(level == level.strip().rjust(8) for level in levels)


# Weights and code


def test_weights_in_a_folder(tmp_path: Path) -> None:
    folder = weights_in(tmp_path / "sam2", SAM2)
    fine, text = said(**sam2(folder))
    assert fine
    assert line(text, "weights of SAM 2.1")[:2] == ("ok", f"in {folder}; licence: see its card")
    (folder / "model.safetensors").unlink()
    fine, text = said(**sam2(folder))
    level, what, fix = line(text, "weights of SAM 2.1")
    assert not fine and level == "missing"
    assert "has no model*.safetensors" in what and "masks.sam2.model" in fix


def cached(tmp_path: Path, name: str, files: dict[str, bytes]) -> None:
    folder = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
    weights_in(folder / "snapshots" / COMMIT, files)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)


def test_weights_in_the_hub_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached(tmp_path, "facebook/sam2.1-hiera-large", SAM2)
    fine, text = said(masks={"segmenter": "sam2"})
    level, what, _ = line(text, "weights of SAM 2.1")
    assert fine and level == "ok"
    assert "main moves" in what and what.endswith("licence: Apache-2.0")
    assert "main moves" not in said(**sam2("facebook/sam2.1-hiera-large", COMMIT))[1]


def test_weights_that_are_only_half_in_the_cache_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cached(tmp_path, "facebook/sam2.1-hiera-large", {"config.json": b"{}"})
    fine, text = said(masks={"segmenter": "sam2"})
    level, what, fix = line(text, "weights of SAM 2.1")
    assert not fine and level == "missing" and "HF_HUB_OFFLINE is set" in what
    assert fix == "unset it, or fetch them first: hf download facebook/sam2.1-hiera-large --revision main"


HUB = {
    "there": (200, {"siblings": [{"rfilename": n, "size": 1 << 30} for n in (*SAM2, "other.bin")]}, "", "warning"),
    "without weights": (200, {"siblings": [{"rfilename": "config.json", "size": 1}]}, "", "has no model*.safetensors"),
    "gated": (403, {"error": "x"}, "GatedRepo", "only to users who have accepted its terms"),
    "no revision": (404, {"error": "x"}, "RevisionNotFound", "the hub has no revision v9"),
    "no model": (401, {"error": "x"}, "RepoNotFound", "there is no some/sam2"),
    "out of order": (500, {"error": "x"}, "", "the hub answers HTTP 500"),
    "no JSON": (200, b"<html>", "", "the hub cannot be reached"),
    "another JSON": (200, [1], "", "the hub cannot be reached"),
}


@pytest.mark.parametrize("case", HUB)
def test_weights_on_the_hub(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    status, content, code, expected = HUB[case]
    paths: list[tuple[str, str]] = []

    def answers(path: str, headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        paths.append((path, headers.get("Authorization", "")))
        return status, content, {"X-Error-Code": code}

    with serving(answers) as url:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        fine, text = said(**sam2("some/sam2", "v9"))
    assert paths == [("/api/models/some/sam2/revision/v9?blobs=true", "Bearer hf_secret")]
    assert "hf_secret" not in text
    level, what, fix = line(text, "weights of SAM 2.1")
    assert fix
    if expected == "warning":
        assert fine and level == "warning"
        assert "downloads 2.0 GiB" in what and fix == "to do so now: hf download some/sam2 --revision v9"
    else:
        assert not fine and level == "missing" and expected in what


def test_a_hub_that_is_not_reached_and_a_name_that_is_none() -> None:
    fine, text = said(**sam2("some/sam2"))
    assert not fine and "the hub cannot be reached" in line(text, "weights of SAM 2.1")[1]
    assert "File name too long" in line(said(**sam2("x" * 5000))[1], "SAM 2.1")[1]
    fine, text = said(**sam2("/no/such/folder"))
    assert not fine and "is neither a folder here nor a hub id" in line(text, "weights of SAM 2.1")[1]


def test_musiq_without_its_extra() -> None:
    if find_spec("pyiqa"):
        pytest.skip("pyiqa is installed here")
    fine, text = said(quality_gate={"metric": "musiq"})
    assert not fine
    assert line(text, "pyiqa") == (
        "missing",
        "not installed; licence: PolyForm-Noncommercial-1.0.0",
        'pip install "instructrestore[iqa]"',
    )
    assert "CC-BY-NC-SA-4.0" in line(text, "weights of MUSIQ")[1]


def test_packages_of_a_stage_with_its_own_environment_are_not_looked_for() -> None:
    environment = {"stages": {"quality gate": {"runtime_env": {"pip": ["pyiqa"]}, "gpus": 0}}}
    _, text = said(quality_gate={"metric": "musiq"}, run=environment)
    assert line(text, "pyiqa")[:2] == ("ok", "as the stage's own environment has it (pip)")


def test_installed_weights_of_a_stage_with_its_own_environment_are_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = replace(installed.backbone(), path=tmp_path / "absent.pth")
    monkeypatch.setattr(installed, "backbone", lambda: absent)
    own = {"runtime_env": {"py_executable": sys.executable}}
    fine, text = said(run={"stages": {"masks": own, "descriptions": own}})
    of_build = text.partition("the small model")[0]
    assert fine and "as the stage's own environment has it (py_executable)" in of_build
    assert "absent.pth" not in of_build


def test_the_embedded_judge_s_weights_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = replace(installed.sentences(), path=tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    monkeypatch.setattr(installed, "sentences", lambda: damaged)
    assert said()[0]
    fine, text = said(agreement={"judge": "named"})
    assert not fine and line(text, "weights of the text vectors")[1].startswith("damaged: the sha256 of ")


def test_semantic_sam_s_checkouts_and_checkpoint(tmp_path: Path) -> None:
    fine, text = said(masks={"segmenter": "semantic_sam"})
    assert not fine
    level, what, fix = line(text, "code of Semantic-SAM")
    assert level == "missing" and "no LICENSE file" in what
    assert fix.startswith("git clone https://github.com/UX-Decoder/Semantic-SAM") and fix.endswith(
        "masks.semantic_sam.checkout"
    )
    code = weights_in(tmp_path / "code/semantic_sam", {"build_semantic_sam.py": b""}).parent
    (tmp_path / "swinl.pth").write_bytes(b"x")
    named = {"checkout": str(code), "checkpoint": str(tmp_path / "swinl.pth"), "detectron2": str(tmp_path)}
    _, text = said(masks={"segmenter": "semantic_sam", "semantic_sam": named})
    assert line(text, "code of Semantic-SAM")[0] == line(text, "weights of Semantic-SAM")[0] == "ok"
    assert "is not a checkout of it: there is no detectron2/" in line(text, "code of detectron2")[1]


def test_osprey_s_licences_are_said() -> None:
    _, text = said(descriptions={"describer": "osprey"})
    assert "weights derive from Vicuna and LLaMA" in line(text, "weights of Osprey")[1]
    assert line(text, "weights of vision tower")[0] == "missing"


def test_the_agreement_stage_is_looked_at_where_it_is_asked_for(tmp_path: Path) -> None:
    files = {"config.json": b"", "model.safetensors": b"", "vocab.json": b"", "merges.txt": b""}
    folder = weights_in(tmp_path / "clip", files)
    fine, text = said(agreement={"model": str(folder)})
    assert fine and line(text, "weights of CLIP")[0] == "ok"
    (folder / "vocab.json").unlink()
    assert "has no tokenizer.json or vocab.json" in said(agreement={"model": str(folder)})[1]
    assert "CLIP" not in said()[1]


# Servers


def test_a_server_that_has_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_KEY", "sk-very-secret")
    with model_server("Qwen/Qwen2.5-7B-Instruct", key="sk-very-secret") as url:
        fine, text = said(**asked(url, api_key_env="MODEL_KEY"))
    assert fine
    assert f"{url}/v1 answers and has Qwen/Qwen2.5-7B-Instruct" in text
    assert "licence of Qwen/Qwen2.5-7B-Instruct: Apache-2.0" in text
    assert "its key is in MODEL_KEY" in text and "sk-very-secret" not in text


def test_a_key_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_KEY", raising=False)
    fine, text = said(**asked("http://127.0.0.1:1", api_key_env="MODEL_KEY"))
    assert not fine
    assert "the environment variable MODEL_KEY, named by api_key_env, is not set" in text
    assert "export MODEL_KEY=" in text


def garbage(status: int, content: Any) -> Any:
    return serving(lambda path, headers: (status, content, {}))


SERVERS = {
    "another model": (lambda: model_server("other", "third"), "missing", "has other, third, not Qwen/"),
    "no key": (lambda: model_server("x", key="k"), "missing", "does not accept the key (HTTP 401)"),
    "not well": (lambda: model_server("Qwen/Qwen2.5-7B-Instruct", health=503), "missing", "is unhealthy (HTTP 503)"),
    "no list": (lambda: garbage(404, b""), "warning", "lists no models (HTTP 404)"),
    "no JSON": (lambda: garbage(200, b"\xff{"), "warning", "lists no models (HTTP 200)"),
    "another JSON": (lambda: garbage(200, {"data": 7}), "warning", "lists no models"),
    "deep JSON": (lambda: garbage(200, b"[" * 100_000), "warning", "lists no models"),
}


@pytest.mark.parametrize("case", SERVERS)
def test_a_server_that_is_not_as_it_should_be(case: str) -> None:
    made, level, expected = SERVERS[case]
    with made() as url:
        fine, text = said(**asked(url))
    assert fine == (level != "missing")
    found = next(each for each in text.splitlines() if f"{url}/v1" in each)
    assert found.strip().startswith(level) and expected in found
    assert "noun_phrases.small.server" in text


def test_a_server_that_is_silent_costs_its_limit_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "LIMIT_S", 0.3)
    release = threading.Event()

    def answers(path: str, headers: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        release.wait(20)
        return 200, b"", {}

    with serving(answers) as first, serving(answers) as second:
        started = time.monotonic()
        fine, text = said(**asked(first, second))
        took = time.monotonic() - started
        release.set()
    assert not fine and text.count("nothing within 0.3 s") == 2
    assert took < 10


def test_one_of_several_servers_is_enough() -> None:
    with model_server("Qwen/Qwen2.5-7B-Instruct") as url:
        fine, text = said(**asked("http://127.0.0.1:1", url))
    assert fine
    lost = next(each for each in text.splitlines() if "http://127.0.0.1:1/v1" in each)
    assert lost.strip().startswith("warning")
    assert not said(**asked("http://127.0.0.1:1"))[0]


def test_a_model_that_the_build_starts(tmp_path: Path) -> None:
    folder = weights_in(tmp_path / "qwen", {"config.json": b"", "a.safetensors": b"", "tokenizer.json": b""})

    def started(python: object) -> tuple[bool, str]:
        vllm = {"python": str(python), "folder": str(folder), "gpus": 0}
        server = {"where": "started", "model": "Qwen/Qwen2.5-72B-Instruct", "vllm": vllm}
        return said(noun_phrases={"small": {"kind": "server", "server": server}})

    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 0.32.0\n")
    python.chmod(0o755)
    fine, text = started(python)
    assert fine
    assert f"vLLM 0.32.0, for {python}" in text
    assert line(text, "weights of small language model")[1].endswith("licence: Qwen LICENSE AGREEMENT")
    for absent, expected in ((tmp_path / "none", "there is no Python"), ("", "in the build's own environment")):
        fine, text = started(absent)
        assert not fine and expected in text and "noun_phrases.small.server.vllm.python" in text
    python.write_text("#!/bin/sh\nexit 1\n")
    assert f"vLLM is not installed for {python}" in started(python)[1]


# The machine


def gpus(tmp_path: Path, *lines: str) -> None:
    """A driver's tool that lists these."""
    tool = tmp_path / "bin/nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{each}'\n" for each in lines))
    tool.chmod(0o755)


def test_gpus_are_listed_and_stages_are_given_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = weights_in(tmp_path / "sam2", SAM2)
    with_gpu = {"stages": {"masks": {"gpus": 1}}}
    fine, text = said(**sam2(folder), run=with_gpu)
    assert not fine
    assert "masks: a worker takes 1 GPUs; this machine has" in line(text, "room")[1]
    gpus(tmp_path, "NVIDIA H200, 143771", "NVIDIA H200, 143771", "[N/A], [N/A]")
    monkeypatch.setattr(machine, "_cuda", lambda: "")
    fine, text = said(**sam2(folder), run=with_gpu)
    assert fine
    assert line(text, "GPUs")[1] == "2 x NVIDIA H200, 140 GiB"
    assert line(text, "room")[1] == "a worker of every stage fits this machine; GPUs: masks 1"
    assert line(text, "torch")[0] == "warning" and "built for CPUs" in line(text, "torch")[1]
    monkeypatch.setattr(machine, "_cuda", lambda: "12.8")
    assert line(said()[1], "torch")[0] == "ok"


def test_a_model_on_a_machine_with_gpus_wants_one(tmp_path: Path) -> None:
    gpus(tmp_path, "NVIDIA A100, 81920")
    folder = weights_in(tmp_path / "sam2", SAM2)
    fine, text = said(**sam2(folder))
    assert fine
    assert line(text, "GPU") == (
        "warning", "it runs on CPUs: run.stages gives its workers no GPU", "--set 'run.stages.masks.gpus=1'"
    )  # fmt: skip
    fine, text = said(**sam2(folder, device="cuda"))
    assert not fine and line(text, "GPU")[0] == "missing"
    assert "GPU  " not in said(**sam2(folder, device="cpu"))[1]
    fix = line(said(quality_gate={"metric": "musiq"})[1], "GPU")[2]
    settings = read_build_settings("embedded", None, [fix.removeprefix("--set '").removesuffix("'")])
    assert settings.run.stages["quality gate"].gpus == 1


def test_what_a_stage_wants_beyond_the_machine_is_said() -> None:
    stages = {"bokeh": {"cpus": 4000}, "masks": {"memory_gib": 90000}, "merge": {"resources": {"fpga": 1}}}
    fine, text = said(run={"stages": stages})
    assert not fine
    for wanted in (
        "bokeh: a worker takes 4000 CPUs",
        "masks: a worker takes 90000 GiB of",
        "merge: a worker takes 1 fpga",
    ):
        assert wanted in text
    assert "agreement" not in said(run={"stages": {"agreement": {"gpus": 99}}})[1]


def test_a_runtime_env_that_ray_would_not_take() -> None:
    fine, text = said(run={"stages": {"masks": {"runtime_env": {"pipp": ["x"]}}}})
    assert not fine
    assert line(text, "environment")[2] == "correct run.stages.masks.runtime_env"


def test_limits_that_ray_runs_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FEWEST_FILES", 1 << 40)
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    fine, text = said(run={"object_store_mib": 1 << 40})
    assert fine
    assert line(text, "shared memory")[0] == "warning" and "run.object_store_mib" in line(text, "shared memory")[2]
    if line(text, "open files")[1] != "no limit":
        assert line(text, "open files")[0] == "warning"


def test_the_run_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine, text = said(tmp_path / "not/yet/there")
    assert fine and "where it will be created, can be written and locked" in line(text, "run folder")[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin"]
    (tmp_path / "file").write_bytes(b"")
    fine, text = said(tmp_path / "file/run")
    assert not fine and f"{tmp_path / 'file'} is a file" in text
    fine, text = said(Path("/proc/run"))
    assert not fine and "/proc cannot be written and locked" in text
    monkeypatch.setattr(machine, "LITTLE_SPACE", 1 << 62)
    fine, text = said(tmp_path)
    assert fine and line(text, "run folder")[0] == "warning"


def test_the_run_s_folder_in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ObjectPath("memory://bucket/run")
    fine, text = said(folder)
    assert fine and line(text, "run folder")[:2] == ("ok", "memory://bucket/run can be written")
    assert names(folder) == []

    def refused(place: ObjectPath, data: bytes) -> None:
        raise PermissionError(13, "Access Denied", str(place))

    monkeypatch.setattr(machine, "create", refused)
    fine, text = said(folder)
    assert not fine and "Access Denied" in line(text, "run folder")[1]
    monkeypatch.setattr(machine, "_STORE_S", 0.2)
    monkeypatch.setattr(machine, "create", lambda place, data: time.sleep(2))
    assert "nothing within 0.2 s" in line(said(folder)[1], "run folder")[1]


def test_a_cluster_that_does_not_answer() -> None:
    fine, text = said(run={"address": "127.0.0.1:1"})
    assert not fine
    level, what, fix = line(text, "cluster")
    assert level == "missing" and "no Ray cluster answers at 127.0.0.1:1" in what and "run.address" in fix


@pytest.mark.usefixtures("ray_cluster")
def test_a_cluster_is_asked_what_room_it_has() -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    fine, text = said(run={"address": address})
    assert fine and line(text, "cluster")[1] == f"{address} has room for a worker of every stage"
    fine, text = said(run={"address": address, "stages": {"masks": {"gpus": 1}}})
    assert not fine and "the masks stage needs 1 CPU" in line(text, "cluster")[1]
