"""A model without a server: all questions of a stage in batches through vLLM engines, by ray.data.llm.

The questions of all parts make one Ray data set, so that the engines load their weights once and are never idle
between parts; replies come back in the questions' order, and each part is committed as soon as its last one is there.
The prompt, the schema, the sampling and what is made of a reply are the stage's own, as with a server.

vLLM and ray.data.llm must be in the build's own environment, on every node.
"""

from __future__ import annotations

import functools
import json
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

import ray
import ray.data
from pydantic import TypeAdapter
from ray.exceptions import RayError
from transformers import AutoTokenizer

from instructrestore.dataengine.running.on_ray.servers.replicas import count_replicas
from instructrestore.dataengine.running.on_ray.servers.vllm_server import telling
from instructrestore.dataengine.running.outcomes import FailureWatch, apply
from instructrestore.dataengine.running.part_files import Outcome, PartFile, PartSummary, read_outcomes
from instructrestore.dataengine.running.server_settings import ChatRequest, ServerSettings
from instructrestore.dataengine.running.stage import Failed, StageSpec, StopStage, Task
from instructrestore.dataengine.running.worker import Todo, disk_sentence, inputs

_BATCH = 64
_BATCHES_AT_ONCE = 8


class Asking(Protocol):
    """A stage that asks a model: what it asks of a row, and what it makes of the reply."""

    def request(self, row: Any, /) -> ChatRequest: ...
    def answered(self, row: Any, reply: str | Failed, /) -> Any: ...


def run_in_process(spec: StageSpec, tasks: Sequence[Task], on_part: Callable[[PartSummary], None]) -> list[PartFile]:
    """Does the tasks; returns their files in the tasks' order. on_part is told of each as it is committed.

    Raises StopStage, in one sentence, where the model cannot be run, or fails one request after the other.
    """
    server = spec.server
    assert server
    stage: Any = spec.build(server)
    todo = [inputs(spec, task) for task in tasks]
    rows = [item.row for item in chain.from_iterable(todo) if isinstance(item, Todo)]
    replies = _replies(spec, stage, rows, len(tasks))
    results = TypeAdapter(spec.result_type)
    files: list[PartFile] = []
    watch = FailureWatch(spec.name, server.failures_in_a_row)
    for task, items in zip(tasks, todo, strict=True):
        sink = spec.sink(task, results)
        for item in items:
            sink.add(_outcome(stage, item, replies) if isinstance(item, Todo) else item)
        try:
            file, summary = sink.commit()
        except OSError as error:
            sink.abandon()
            raise StopStage(disk_sentence(spec.name, task, error)) from None
        files.append(file)
        on_part(summary)
        watch.part(summary, lambda path=file.path: read_outcomes(path, results))
    return files


def _outcome(stage: Asking, item: Todo, replies: Iterator[str | Failed]) -> Outcome[Any]:
    reply = next(replies, None)
    assert reply is not None, "ray.data gave fewer rows than it got"
    return apply(lambda rows: [stage.answered(rows[0], reply)], [(item.name, item.row)], None)[0]


def _replies(spec: StageSpec, stage: Asking, rows: Sequence[Any], blocks: int) -> Iterator[str | Failed]:
    """The model's reply to each row, in order."""
    server, adapter = spec.server, TypeAdapter(spec.row_type)
    assert server
    try:
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig  # noqa: PLC0415
    except ImportError as error:
        raise StopStage(
            f'the model "{server.model}" cannot be run in process: {error}; install requirements/vllm.txt in the '
            'build\'s own environment, or set where to "started"'
        ) from None
    vllm = server.vllm
    count = count_replicas(vllm, ray.nodes())
    cpus = ray.cluster_resources().get("CPU", 0)
    if cpus < count + 1:
        raise StopStage(
            f"{count} vLLM in process take a CPU each, and one to feed them; the cluster has {cpus:g}: set fewer "
            "replicas"
        )
    bundle = {"CPU": 1.0} | ({"GPU": vllm.gpus_per_replica} if vllm.gpus_per_replica else {})
    config: Any = vLLMEngineProcessorConfig(
        model_source=vllm.folder or server.model,
        engine_kwargs=_engine(server),
        batch_size=_BATCH,
        max_concurrent_batches=_BATCHES_AT_ONCE,
        concurrency=(count, count),
        placement_group_config={"bundles": [bundle]},
        runtime_env=dict(spec.runtime_env) or None,
        should_continue_on_error=True,
        log_engine_metrics=False,
        # The tokens are made here, with the tokenizer's revision named.
        chat_template_stage=False,
        tokenize_stage=False,
        detokenize_stage=False,
    )
    for name in ("ray", "ray.data"):  # what matters of what they report is said here, in one sentence
        logging.getLogger(name).setLevel(logging.CRITICAL)
    processor = build_processor(
        config,
        preprocess=_Asked(stage, adapter, server),
        postprocess=lambda row: {"place": row["place"], "reply": row["generated_text"]},
        # Else the tasks that make prompts take every CPU first, and the engines wait for them.
        preprocess_map_kwargs={"compute": ray.data.TaskPoolStrategy(size=max(1, int(cpus) - count))},
    )
    questions = ray.data.from_items(
        [{"place": place, "row": adapter.dump_json(row).decode()} for place, row in enumerate(rows)],
        override_num_blocks=blocks,
    )
    questions.context.execution_options.preserve_order = True
    questions.context.enable_progress_bars = False
    limit_s = (vllm.restarts + 1) * vllm.start_limit_s
    for place, row in enumerate(_until_silent(processor(questions).iter_rows(), limit_s, server.model)):
        assert row["place"] == place, "ray.data keeps the order that it is asked to keep"
        error = row["__inference_error__"]
        yield Failed(" ".join(error.split())[:200]) if error else row["reply"]


def _until_silent(rows: Iterable[dict[str, Any]], limit_s: float, model: str) -> Iterator[dict[str, Any]]:
    """The rows as they come. Raises StopStage where they break off, or where none comes for so long: Ray starts an
    engine that died again, without end."""
    came: queue.SimpleQueue[dict[str, Any] | RayError | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            for row in rows:
                came.put(row)
        except RayError as error:
            came.put(error)
        finally:
            came.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            row = came.get(timeout=limit_s)
        except queue.Empty:
            raise StopStage(f'the model "{model}", run in process, gave no reply for {limit_s:g} s') from None
        if row is None:
            return
        if isinstance(row, RayError):
            said = telling(str(row).splitlines())
            raise StopStage(f'the model "{model}" cannot be run in process: {said}')
        yield row


def _engine(server: ServerSettings) -> dict[str, Any]:
    """The arguments of vLLM's engine; those that `vllm_server.command` gives a server."""
    vllm = server.vllm
    return {
        "revision": server.revision if server.revision and not vllm.folder else None,
        "dtype": vllm.dtype,
        "max_model_len": vllm.max_model_len,
        "gpu_memory_utilization": vllm.gpu_memory,
        "tensor_parallel_size": vllm.tensor_parallel,
        "distributed_executor_backend": "mp" if vllm.tensor_parallel > 1 else "uni",
        **vllm.options,
    }


class _Asked:
    """A row of the data set as vLLM's engine wants it: tokens and how to sample."""

    def __init__(self, stage: Asking, adapter: TypeAdapter[Any], server: ServerSettings) -> None:
        self._stage = stage
        self._rows = adapter
        self._server = server

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        request = self._stage.request(self._rows.validate_json(row["row"]))
        vllm = self._server.vllm
        tokenizer = _tokenizer(vllm.folder or self._server.model, "" if vllm.folder else self._server.revision)
        tokens = tokenizer.apply_chat_template(
            list(request.messages), tokenize=True, add_generation_prompt=True, return_dict=False
        )
        sampling: dict[str, Any] = {
            "max_tokens": self._server.max_tokens,
            "temperature": float(request.temperature),
            "structured_outputs": {"json": json.dumps(request.schema), "disable_any_whitespace": True},
        }
        if request.seed is not None:
            sampling["seed"] = request.seed
        return {"tokenized_prompt": tokens, "sampling_params": sampling}


@functools.cache
def _tokenizer(model: str, revision: str) -> Any:
    return AutoTokenizer.from_pretrained(model, **({"revision": revision} if revision else {}))
