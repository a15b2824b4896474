"""The hub's answers as sentences for people. Tokens are huggingface_hub's own business: none is read or shown here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]  (of whichever HTTP library it uses)
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from huggingface_hub.utils import disable_progress_bars, logging

from instructrestore.shards.errors import first_line

Kind = Literal["dataset", "model"]
GO_ON = "run the same command again, and it goes on where it stopped"
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
_REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


def quieten(bars: bool) -> None:
    """Silences huggingface_hub but for errors: its warnings quote addresses, which may be signed.

    bars: whether its progress bars stay.
    """
    logging.set_verbosity_error()
    if not bars:
        disable_progress_bars()


def check_repository(name: str) -> None:
    """Raises ValueError unless the name is OWNER/NAME."""
    if not _REPOSITORY.fullmatch(name) or ".." in name or "--" in name:
        raise ValueError(f"{name!r} is no repository of the hub: name it OWNER/NAME")


@contextmanager
def speaking(kind: Kind, repository: str, writes: bool) -> Iterator[None]:
    """Turns what huggingface_hub raises in the block into a ValueError of one sentence.

    writes: whether the block is to write to the repository, and not only to read it.
    """
    try:
        yield
    except (HfHubHTTPError, HTTPError, RuntimeError, LocalEntryNotFoundError, RevisionResolutionError) as error:
        raise ValueError(_said(_root(error), kind, repository, writes)) from error
    except LocalTokenNotFoundError:
        raise ValueError(f"the hub must know who you are: {LOG_IN}") from None
    except OfflineModeIsEnabled:
        raise ValueError("HF_HUB_OFFLINE is set: unset it to reach the hub") from None
    except HFValidationError as error:
        raise ValueError(f"{repository} is no name that the hub takes: {first_line(error)}") from error


def _root(error: BaseException) -> BaseException:
    """The hub's own word beneath what huggingface_hub wraps it in."""
    known: BaseException | None = error
    while known is not None and not isinstance(known, HfHubHTTPError):
        known = known.__cause__ or known.__context__
    if known is not None:
        return known
    if isinstance(error, RuntimeError) and not isinstance(error.__cause__, HTTPError):
        raise error  # a defect, and none of the hub's
    return error


def _said(error: BaseException, kind: Kind, repository: str, writes: bool) -> str:
    where = f"the {kind} {repository}"
    if not isinstance(error, HfHubHTTPError):
        return f"the connection to the hub broke off ({type(error).__name__}): {GO_ON}"
    status = error.response.status_code
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return f"the hub does not accept your token for {where}: {LOG_IN}"
    if isinstance(error, GatedRepoError):
        return f"{where} is gated: ask for access on its page on the hub, and {LOG_IN}"
    if status == 403:
        may = "write to" if writes else "read"
        return f"your token may not {may} {where}: take one that may, and {LOG_IN}"
    if isinstance(error, RevisionNotFoundError):
        return f"{where} has no such revision: name a branch, tag or commit of it with --revision"
    if isinstance(error, EntryNotFoundError):
        return f"{where} lacks a file that its checksums list: ask its owner to push it again"
    if isinstance(error, RepositoryNotFoundError) or status in (401, 404):
        return f"the hub has nothing to show under {where}: check the name, and if it is private, {LOG_IN}"
    if status == 429:
        wait = error.response.headers.get("Retry-After", "")
        return f"the hub asks for fewer requests{f' for {wait} s' if wait.isdigit() else ''} (HTTP 429): later {GO_ON}"
    if status in (409, 412):
        return f"{where} was changed by someone else meanwhile (HTTP {status}): look at it, then {GO_ON}"
    if status == 507 or status == 413:
        return f"the hub has no room for this in {where} (HTTP {status})"
    return f"the hub answered HTTP {status} about {where}: {GO_ON if status >= 500 else 'see its status page'}"
