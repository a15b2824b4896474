"""Weights and code: in a folder, in the hub's cache, or on the hub, which is asked without fetching anything."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import httpx
from huggingface_hub import constants, get_token, snapshot_download
from huggingface_hub.errors import HFValidationError, RevisionResolutionError
from huggingface_hub.utils import validate_repo_id

from instructrestore.dataengine.weights.needs import CheckoutNeed, PackageNeed, WeightsNeed
from instructrestore.pipelines.doctor.findings import Finding
from instructrestore.pretrained.installed import InstalledFile
from instructrestore.shards.errors import first_line
from instructrestore.shards.parsing import parse_object

LIMIT_S = 5.0


def check_package(need: PackageNeed) -> Finding:
    """Looks for a package without importing it, which would take seconds and run its code."""
    if find_spec(need.module) is None:
        return _licensed(Finding("missing", need.name, "not installed", need.install), need.licence)
    try:
        found = version(need.name)
    except PackageNotFoundError:
        found = "without a version"
    return _licensed(Finding("ok", need.name, found), need.licence)


def check_checkout(need: CheckoutNeed) -> Finding:
    return _licensed(_code(need), need.licence)


def check_file(need: InstalledFile) -> Finding:
    """Of a file that came with a package every byte is looked at."""
    name = f"weights of {need.name}"
    wrong = need.fault()
    if wrong:
        return _licensed(Finding("missing", name, wrong, need.fix), need.licence)
    assert need.path is not None
    size = need.path.stat().st_size / (1 << 20)
    return _licensed(Finding("ok", name, f"{need.path.name}, {size:.1f} MiB, sha256 {need.sha256}"), need.licence)


def check_weights(need: WeightsNeed) -> Finding:
    return _licensed(_found(need), need.licence or "see its card")


def _licensed(finding: Finding, licence: str) -> Finding:
    return replace(finding, text=f"{finding.text}; licence: {licence}") if licence else finding


def _code(need: CheckoutNeed) -> Finding:
    name = f"code of {need.name}"
    fix = f"git clone {need.source}, and name the folder in {need.setting}"
    if not need.folder:
        if need.or_module and find_spec(need.or_module) is not None:
            return Finding("ok", name, "installed as a package")
        return Finding("missing", name, "not found", fix)
    folder = Path(need.folder).expanduser()
    if not (folder / need.holds).is_file():
        return Finding("missing", name, f"{folder} is not a checkout of it: there is no {need.holds}", fix)
    return Finding("ok", name, f"checkout in {folder}")


def _found(need: WeightsNeed) -> Finding:
    name = f"weights of {need.name}"
    if not need.model:
        return Finding("missing", name, "not set", f"name them in {need.setting}")
    place = Path(need.model).expanduser()
    if not need.files:
        if not place.is_file():
            return Finding("missing", name, f"there is no file {place}", f"correct {need.setting}")
        return Finding("ok", name, str(place))
    if place.is_dir():
        absent = _absent(need.files, _names(place))
        if absent:
            fix = f"save the model there as it is published, or correct {need.setting}"
            return Finding("missing", name, f"{place} has no {', '.join(absent)}", fix)
        return Finding("ok", name, f"in {place}")
    cached = _cached(need)
    if cached and not _absent(need.files, _names(cached)):
        moves = " (main moves: pin a commit to repeat a run)" if need.revision in ("", "main") else ""
        return Finding("ok", name, f"{_named(need)}, in the hub's cache{moves}")
    return _hub(need, name)


def _named(need: WeightsNeed) -> str:
    return f"{need.model}@{need.revision or 'main'}"


def _cached(need: WeightsNeed) -> Path | None:
    try:
        return Path(snapshot_download(need.model, revision=need.revision or None, local_files_only=True))
    except (OSError, ValueError, RevisionResolutionError):
        return None


def _hub(need: WeightsNeed, name: str) -> Finding:
    """Whether the hub has the weights, and their size."""
    fetch = f"hf download {need.model}" + (f" --revision {need.revision}" if need.revision else "")
    try:
        validate_repo_id(need.model)
    except HFValidationError:
        fix = f"correct {need.setting}"
        return Finding("missing", name, f"{need.model} is neither a folder here nor a hub id", fix)
    if constants.HF_HUB_OFFLINE:
        fix = f"unset it, or fetch them first: {fetch}"
        return Finding("missing", name, f"{_named(need)}: not in the hub's cache, and HF_HUB_OFFLINE is set", fix)
    token = get_token()
    where = f"{constants.ENDPOINT}/api/models/{need.model}/revision/{quote(need.revision or 'main', safe='')}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(where, params={"blobs": "true"}, headers=headers, timeout=LIMIT_S, follow_redirects=True)
        siblings = parse_object(answer.content, "the answer").get("siblings", ())
        files = {str(file["rfilename"]): int(file.get("size") or 0) for file in siblings}
    except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
        fix = f"check the connection, or fetch them elsewhere and copy the cache: {fetch}"
        return Finding("missing", name, f"{_named(need)}: the hub cannot be reached ({first_line(error)})", fix)
    if answer.status_code != 200:
        return _refused(need, name, answer)
    absent = _absent(need.files, list(files))
    if absent:
        return Finding("missing", name, f"{_named(need)} has no {', '.join(absent)}", f"correct {need.setting}")
    patterns = [part for pattern in need.files for part in pattern.split("|")]
    size = sum(size for name, size in files.items() if any(fnmatch(name, pattern) for pattern in patterns))
    text = f"{_named(need)}, on the hub: each machine downloads {size / (1 << 30):.1f} GiB on first use"
    return Finding("warning", name, text, f"to do so now: {fetch}")


def _refused(need: WeightsNeed, name: str, answer: httpx.Response) -> Finding:
    """A finding with the hub's reason, which is in a header of its answer."""
    reason = answer.headers.get("X-Error-Code", "")
    if reason == "GatedRepo":
        fix = f"accept its terms at {constants.ENDPOINT}/{need.model}, and set HF_TOKEN"
        return Finding(
            "missing", name, f"{need.model}: the hub gives it only to users who have accepted its terms", fix
        )
    if reason == "RevisionNotFound":
        fix = "correct its revision"
        return Finding("missing", name, f"{need.model}: the hub has no revision {need.revision} of it", fix)
    if reason == "RepoNotFound" or answer.status_code in (401, 404):
        fix = f"correct {need.setting}; for a private model set HF_TOKEN"
        return Finding("missing", name, f"there is no {need.model}, neither as a folder here nor on the hub", fix)
    fix = "try again later"
    return Finding("missing", name, f"{need.model}: the hub answers HTTP {answer.status_code}", fix)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_file()]


def _absent(patterns: tuple[str, ...], names: list[str]) -> list[str]:
    """The patterns, each with alternatives separated by |, that no name matches."""
    return [
        " or ".join(pattern.split("|"))
        for pattern in patterns
        if not any(fnmatch(name, part) for part in pattern.split("|") for name in names)
    ]
