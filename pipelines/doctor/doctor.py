"""`instructrestore doctor`: whether a build with these settings could run here, one line for each thing it needs.

What the chosen annotators need is stated beside their settings (`needs`); here it is gathered, looked for by the other
files of this folder, and shown. Nothing is downloaded, no model is loaded and no key is printed. Packages, weights and
limits are those of this machine; a cluster is only asked whether it has room.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.text import Text

from instructrestore.dataengine.annotator.installed import shipped
from instructrestore.dataengine.descriptions import osprey_settings
from instructrestore.dataengine.masks import sam2_settings, semantic_sam_settings
from instructrestore.dataengine.merging import agreement_settings
from instructrestore.dataengine.quality import musiq_settings
from instructrestore.dataengine.running.on_ray import environments
from instructrestore.dataengine.running.server_settings import ServerSettings
from instructrestore.dataengine.settings import BuildSettings, StageName
from instructrestore.dataengine.stages import resources
from instructrestore.dataengine.weights.needs import CheckoutNeed, Need, PackageNeed, ServerNeed, WeightsNeed
from instructrestore.pipelines.doctor import machine, room
from instructrestore.pipelines.doctor.findings import Finding, findings_table, print_verdict
from instructrestore.pipelines.doctor.servers import check_server
from instructrestore.pipelines.doctor.small_model import small_model
from instructrestore.pipelines.doctor.weights import check_checkout, check_file, check_package, check_weights
from instructrestore.pretrained import brisque, installed
from instructrestore.pretrained.installed import InstalledFile
from instructrestore.shards.paths import Place

_OWN_PYTHON = {"pip", "uv", "conda", "py_executable", "container", "image_uri"}


def chosen(settings: BuildSettings) -> dict[StageName, list[Need]]:
    """What the chosen annotators need, by stage."""
    s = settings
    found: dict[StageName, list[Need]] = {"quality gate": [], "masks": [], "descriptions": [], "noun phrases": []}
    if s.quality_gate.metric == "musiq":
        found["quality gate"] = musiq_settings.needs(s.quality_gate.musiq)
    elif s.quality_gate.metric == "brisque":
        found["quality gate"] = [brisque.shipped()]
    if s.masks.segmenter == "named":
        found["masks"] = [shipped(), installed.backbone()]
    elif s.masks.segmenter == "sam2":
        found["masks"] = sam2_settings.needs(s.masks.sam2)
    elif s.masks.segmenter == "semantic_sam":
        found["masks"] = semantic_sam_settings.needs(s.masks.semantic_sam)
    if s.descriptions.describer == "named":
        found["descriptions"] = [shipped(), installed.backbone()]
    elif s.descriptions.describer == "osprey":
        found["descriptions"] = osprey_settings.needs(s.descriptions.osprey)
    elif s.descriptions.vision_language:
        server = s.descriptions.vision_language.server
        found["descriptions"] = [ServerNeed("vision-language model", "descriptions.vision_language.server", server)]
    rounds = {"small": s.noun_phrases.small.server, "large": s.noun_phrases.large.server}
    found["noun phrases"] = [
        ServerNeed(f"{size} language model", f"noun_phrases.{size}.server", server)
        for size, server in rounds.items()
        if server
    ]
    if s.agreement:
        found["agreement"] = agreement_settings.needs(s.agreement)
    return found


def doctor(settings: BuildSettings, out: Place | None, console: Console) -> bool:
    """Prints what it finds and returns whether the build can run. out: the run's folder, if it is to be checked."""
    present = machine.gpus()
    needed = chosen(settings)
    servers = [need.server for needs in needed.values() for need in needs if isinstance(need, ServerNeed)]
    sections = {"this machine": list(_machine(settings, out, present, servers))}
    with ThreadPoolExecutor() as pool:  # each server and the hub may take 5 s
        looked = {stage: [pool.submit(_look, need, stage, settings) for need in needed[stage]] for stage in needed}
        for stage, waiting in looked.items():
            sections[stage] = [finding for found in waiting for finding in found.result()]
    for stage, needs in needed.items():
        sections[stage] += _gpu_of(stage, needs, settings, bool(present))
    simple = [stage for stage, needs in needed.items() if not needs]
    if simple:
        sections["other stages"] = [
            Finding("ok", ", ".join(simple), "embedded, or taken from the source: nothing needed")
        ]
    sections["the small model"] = [small_model()]
    longest = max(len(finding.what) for findings in sections.values() for finding in findings)
    width = min(longest, console.width // 3)
    for title, findings in sections.items():
        if findings:
            console.print(Text(title, "bold"))
            console.print(findings_table(findings, width))
    return print_verdict([finding for findings in sections.values() for finding in findings], console)


def _machine(
    settings: BuildSettings, out: Place | None, present: list[machine.Gpu], servers: list[ServerSettings]
) -> Iterator[Finding]:
    how = settings.run
    yield from machine.packages(present)
    yield machine.devices(present)
    takers = room.takers(settings, servers)
    if how.address:
        yield from room.in_cluster(how.address, takers, how)
    else:
        yield from room.on_this_machine(present, how.cpus, takers)
    yield from machine.limits(how.object_store_mib)
    for name, given in {"default": how.default, **how.stages}.items():
        try:
            environments.check(name, given.runtime_env)
        except ValueError as error:
            yield Finding("missing", "environment", str(error), f"correct run.stages.{name}.runtime_env")
    if out:
        yield from machine.run_folder(out)


def _look(need: Need, stage: StageName, settings: BuildSettings) -> list[Finding]:
    try:
        return _seen(need, stage, settings)
    except OSError as error:  # an unreadable folder, an impossible name
        return [Finding("missing", need.name, f"{error.strerror or error}: {error.filename}", "correct it")]


def _seen(need: Need, stage: StageName, settings: BuildSettings) -> list[Finding]:
    own = _OWN_PYTHON & resources(settings, stage)["runtime_env"].keys()
    if isinstance(need, ServerNeed):
        return check_server(need)
    if own and isinstance(need, PackageNeed | InstalledFile):
        name = f"weights of {need.name}" if isinstance(need, InstalledFile) else need.name
        return [Finding("ok", name, f"as the stage's own environment has it ({', '.join(sorted(own))})")]
    if isinstance(need, PackageNeed):
        return [check_package(need)]
    if isinstance(need, CheckoutNeed):
        return [check_checkout(need)]
    if isinstance(need, InstalledFile):
        return [check_file(need)]
    return [check_weights(need)]


def _gpu_of(stage: StageName, needs: Iterable[Need], settings: BuildSettings, here: bool) -> list[Finding]:
    """A stage with a model of its own whose workers were given no GPU: Ray hides all GPUs from them."""
    wanting = [need for need in needs if isinstance(need, WeightsNeed) and need.device != "server"]
    if not wanting or resources(settings, stage)["gpus"] or all(need.device == "cpu" for need in wanting):
        return []
    key = f'"{stage}"' if " " in stage else stage
    fix = f"--set 'run.stages.{key}.gpus=1'"
    if any(need.device.startswith("cuda") for need in wanting):
        return [Finding("missing", "GPU", "its device is a GPU, but run.stages gives its workers none", fix)]
    if here or settings.run.address:
        return [Finding("warning", "GPU", "it runs on CPUs: run.stages gives its workers no GPU", fix)]
    there = "name a Ray cluster with one: --set run.address=HOST:PORT"
    return [Finding("warning", "GPU", "it runs on CPUs, slowly: this machine has no GPU", there)]
