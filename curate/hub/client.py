"""Talks to the Hugging Face Hub: addresses, the login, waits, and what went wrong in one line. Moves no files itself.

Every use of the client library stands in `asking`, which turns what the library raises into a `HubError` that names the
repository, the rule and the next step. `patiently` waits where the Hub asks for it. The endpoint is the library's own
(``HF_ENDPOINT``).
"""

from __future__ import annotations

import contextvars
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from curate import progress
from curate.errors import HubError, InputError
from curate.files import reason

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Address", "asking", "cached", "client", "is_offline", "login", "parse_address", "patiently", "resolve"]

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|[A-Za-z0-9]")
_TOKEN = re.compile(r"[!-~]*")  # printable ASCII without blanks
_LONGEST = 96  # characters of a repository's name, as the client library counts them
_BUSY = (408, 429, 500, 502, 503, 504)  # what a later try may not meet
_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between tries, where the Hub does not say how long
_LONGEST_WAIT = 300  # seconds; the windows of the Hub's limits are of five minutes (huggingface.co/docs/hub/rate-limits)
_CONNECT_S, _SILENT_S = 20.0, 300.0  # seconds without a connection, and without a byte on one
_LIMIT = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")  # of a header `RateLimit`: nothing remains for so many seconds


@dataclass(frozen=True)
class Address:
    """A repository of the Hub, and what of it is meant.

    Attributes:
        name: ``org/name``, or ``name`` alone, which is of the user's own namespace (of the Hub's own data sets, for reading).
        type: ``dataset`` or ``model``.
        revision: a branch, a tag or a commit; None for what is newest.
        config: of a data set; None for its default.
    """

    name: str
    type: str = "dataset"
    revision: str | None = None
    config: str | None = None

    def __str__(self) -> str:
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    @property
    def url(self) -> str:
        """Its page."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.type == 'dataset' else ''}{self.name}"


def parse_address(text: str, *, scheme: str, type: str = "dataset") -> Address:
    """Read ``SCHEME[datasets/]ORG/NAME[@REVISION][:CONFIG]``.

    Args:
        text: the address.
        scheme: what it begins with, such as ``hub:`` or ``hf://``.
        type: of the repository.

    Raises:
        InputError: it is no address of a repository.
    """
    rest, _, config = text.removeprefix(scheme).removeprefix("datasets/").partition(":")
    name, at, revision = rest.partition("@")
    parts = name.split("/")
    wrong = next((part for part in parts if not _NAME.fullmatch(part)), None)
    if wrong is not None or len(parts) > 2 or "--" in name or ".." in name or name.endswith(".git") or len(name) > _LONGEST:
        raise InputError(
            f"{text!r} names no repository: write {scheme}ORG/NAME with letters, digits, -, _ and . in both, at most {_LONGEST} "
            f"characters, no -- and no .., and neither end a sign{'' if wrong is None else f'; {wrong!r} is not so'}"
        )
    if at and not revision:
        raise InputError(f"{text!r} ends in @: name a branch, a tag or a commit after it, or leave the @ out")
    return Address(name, type, revision or None, config or None)


def client() -> HfApi:
    """Return the client library's API, which sends the user's token, if there is one.

    Raises:
        HubError: HF_ENDPOINT is no address, or the token holds what no token does (an error of the library would show it).
    """
    from huggingface_hub import HfApi, get_token

    parts = urlsplit(_endpoint())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HubError(f"HF_ENDPOINT {_endpoint()!r} is no address of a Hub: write one as https://huggingface.co, or unset it")
    if not _TOKEN.fullmatch(get_token() or ""):
        raise HubError(f"{_who()} holds characters that no token has: copy it again from {_endpoint()}/settings/tokens")
    return HfApi(library_name="curate")


def cached(address: Address, path: str, commit: str) -> Path | None:
    """Return where the client library's cache has a file of a commit; None where it has none."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(address.name, path, revision=commit, repo_type=address.type) if path else None
    return Path(found) if isinstance(found, str) else None


def is_offline() -> bool:
    """Return whether the user has told the client library to use no network (``HF_HUB_OFFLINE``)."""
    from huggingface_hub import constants

    return bool(constants.is_offline_mode())


def login(doing: str) -> dict[str, Any]:
    """Return whose token is used: ``name``, ``orgs`` (names) and ``role`` (``read``, ``write``, or another of the Hub's).

    Args:
        doing: what it is needed for, for the errors.

    Raises:
        HubError: there is no token, it is not valid, or the Hub cannot be reached.
    """
    with asking(None, doing):
        found = patiently(lambda: client().whoami())
    role = (found.get("auth") or {}).get("accessToken") or {}
    orgs = [str(org.get("name")) for org in found.get("orgs") or []]
    return {"name": str(found["name"]), "orgs": orgs, "role": str(role.get("role", ""))}


def resolve(address: Address) -> tuple[str, Address]:
    """Return the commit that an address stands for, and the address as the Hub calls it now; a note says a new name.

    Raises:
        HubError: there is no such repository or revision, the token has no access, or the Hub cannot be reached.
    """
    with asking(address, "reading"):
        api = client()
        info: Any = patiently(lambda: api.repo_info(address.name, repo_type=address.type, revision=address.revision))
        if info.gated:  # its description is everybody's, its files are not
            patiently(lambda: api.auth_check(str(info.id), repo_type=address.type))
    found = Address(str(info.id), address.type, address.revision, address.config)
    if found.name.lower() != address.name.lower():
        progress.note("hub", f"{address.name} is called {found.name} now; name it so from now on")
    return str(info.sha), found


def patiently(call: Callable[[], T], *, waits: Sequence[float] | None = None) -> T:
    """Call the client library; where the Hub is busy or a connection broke, wait and call again.

    Args:
        call: may be repeated.
        waits: seconds before each further try; a wait that the Hub asks for goes before them, up to 300 s.

    Raises:
        HTTPError: of the client library, of the last try, or of the first that no wait would help.
    """
    from huggingface_hub.errors import HTTPError

    for wait in _WAITS if waits is None else waits:
        try:
            return call()
        except HTTPError as e:
            asked = _pause(e)
            if asked is None or asked > _LONGEST_WAIT:
                raise
            status = _status(e)
            what = f"answers {status}" if status else "broke the connection"
            progress.note("hub", f"the Hub {what}; trying again in {max(asked, wait):.0f} s")
            time.sleep(max(asked, wait))
    return call()


def _pause(error: BaseException) -> float | None:
    """Return the seconds that an error asks to wait, 0 where it says none, or None where waiting would not help."""
    response = getattr(error, "response", None)
    if response is None:
        kinds = {kind.__name__ for kind in type(error).__mro__}  # of httpx or of httpx2, as the library's version has it
        return 0.0 if "TransportError" in kinds and kinds.isdisjoint({"ConnectError", "ConnectTimeout"}) else None
    if response.status_code not in _BUSY:
        return None
    limit = _LIMIT.search(response.headers.get("RateLimit") or "")
    after = str(response.headers.get("Retry-After") or "").strip()
    return float(limit[1]) + 1 if limit and response.status_code == 429 else float(after) if after.isdigit() else 0.0


@contextmanager
def asking(address: Address | None, doing: str, *, so_far: Callable[[], str] = str) -> Iterator[None]:
    """Turn what the client library raises in the enclosed work into one line, and its bars and warnings into notes.

    Args:
        address: the repository that is spoken of; None before there is one.
        doing: what is done with it, such as ``push to``.
        so_far: says what the work has left at the repository when it fails; empty for nothing.

    Raises:
        HubError: the library raised.
    """
    from huggingface_hub.errors import HTTPError

    try:
        with _quiet(), _limited():
            yield
    except (HTTPError, OSError, ValueError, RuntimeError, ImportError) as e:  # ImportError: of what a proxy needs
        told = _explain(_cause(e), address)
        where = f"{doing} {address}" if address else doing
        left = so_far()
        raise HubError(f"{where}: {told}{f'; {left}' if left else ''}") from e


def _cause(error: BaseException) -> BaseException:
    """Return what an error of a worker thread, or of a look into the local cache, was raised from."""
    while error.__cause__ is not None and type(error).__name__ in ("RuntimeError", "LocalEntryNotFoundError"):
        error = error.__cause__
    return error


def _status(error: BaseException) -> int:
    response = getattr(error, "response", None)
    return 0 if response is None else int(response.status_code)


def _explain(error: BaseException, address: Address | None) -> str:
    """Return the rule that an error of the client library stands for, and the next step."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalTokenNotFoundError):
        return "there is no token of the Hub: set HF_TOKEN, or log in with hf auth login"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE forbids every use of the network: unset it"
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_status(error, _status(error), address)
    if isinstance(error, errors.HTTPError | ConnectionError):
        return _explain_connection(error)
    if isinstance(error, ValueError) and "LFS batch API returned errors" in str(error):
        return _explain_refusal(_words(str(error).partition("`")[2].rstrip("`") or str(error)), address)
    if isinstance(error, ValueError) and "Invalid metadata in README.md" in str(error):
        return f"the YAML at the head of README.md is not valid ({_words(str(error))}): put it right"
    if isinstance(error, errors.FileMetadataError | errors.HFValidationError):
        return f"{_words(str(error))}: check the name, HF_ENDPOINT and the network"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"cannot be reached at {_endpoint()}, and is not in the cache: check the network and HF_ENDPOINT"
    if isinstance(error, OSError):
        return f"{reason(error)}{f': {error.filename!r}' if error.filename else ''}: put that right and run it again"
    return (
        f"the Hub's client library failed ({_words(str(error)) or type(error).__name__}): run it again, or update huggingface_hub"
    )


def _explain_connection(error: BaseException) -> str:
    words = _words(reason(error))
    return f"the Hub at {_endpoint()} cannot be reached ({words}): check the network and HF_ENDPOINT, then run it again"


def _explain_status(error: Any, status: int, address: Address | None) -> str:
    from huggingface_hub import errors

    words = _words(error.server_message or "")
    page = address.url if address else f"{_endpoint()}/settings/tokens"
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated, and {_who()} has no access: ask for it at {page}"
    if isinstance(error, errors.DisabledRepoError):
        return f"the Hub has disabled it: see {page}"
    if isinstance(error, errors.RevisionNotFoundError):
        revision = address.revision if address else None
        return f"it has no revision {revision!r}: name a branch, a tag or a commit of {page}/tree/main"
    invalid = "Invalid credentials" in (error.response.headers.get("X-Error-Message") or "") or address is None
    if status == 401 and invalid:
        return f"{_who()} is not valid (401): make one at {_endpoint()}/settings/tokens and set HF_TOKEN, or run hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError) or status == 401:
        kind = "data set" if address is None or address.type == "dataset" else "model"
        return (
            f"there is no such {kind} at {_endpoint()}, or it is private and {_who()} has no access: check the name, or set "
            "HF_TOKEN to a token that has, or log in with hf auth login"
        )
    if status == 412:
        return "somebody else committed to it meanwhile, and nothing was written over: run it again"
    if status == 429:
        wait = _pause(error) or 0
        when = f"in {wait:.0f} s" if wait else "later"
        return f"the Hub limits how often it is asked (429): run it again {when}"
    if status >= 500 or status == 408:
        return f"the Hub fails ({status}{f': {words}' if words else ''}): run it again later"
    if status in (402, 403, 413):
        return _explain_refusal(words or f"status {status}", address, status)
    return f"the Hub refuses it ({status}{f': {words}' if words else ''}): see {page}"


def _explain_refusal(words: str, address: Address | None, status: int = 403) -> str:
    """Say why something may not be written: too much of it, or no right to."""
    owner = address.name.partition("/")[0] if address else "the namespace"
    if status in (402, 413) or re.search(r"storage|quota|limit|billing|plan|too large|exceed", words, re.IGNORECASE):
        return (
            f"it does not fit into what {owner} may store or send ({words}): make room or change the plan at "
            f"{_endpoint()}/settings/billing, or export fewer rows"
        )
    return f"{_who()} may not do that in {owner} ({words}): use one that may write there, of {_endpoint()}/settings/tokens"


def _who() -> str:
    """Return how the token is called that was sent."""
    from huggingface_hub import get_token

    if os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return "the token in HF_TOKEN"
    return "the token of hf auth login" if get_token() else "whoever sends no token"


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _words(text: str) -> str:
    """Return what the Hub said as a part of one line."""
    words = " ".join(str(text).split()).rstrip(".")
    return words if len(words) <= 200 else f"{words[:199]}…"


class _Notes(logging.Handler):
    """Passes on what the client library says of its own waits, from whatever thread; its addresses are signed, and left out."""

    def __init__(self) -> None:
        super().__init__()
        self._context = contextvars.copy_context()  # that of whoever listens

    def emit(self, record: logging.LogRecord) -> None:
        self._context.run(self._note, record.getMessage())

    @staticmethod
    def _note(text: str) -> None:
        if found := re.match(r"HTTP Error (\d+) thrown", text):
            progress.note("hub", f"the Hub answers {found[1]}; trying again")
        elif "thrown while requesting" in text:
            progress.note("hub", "the Hub broke the connection; trying again")
        elif found := re.match(r"Rate limited. Waiting ([\d.]+)s", text):
            progress.note("hub", f"the Hub limits how often it is asked; waiting {float(found[1]):.0f} s")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the client library from drawing bars and writing to stderr while the block runs."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger, bars = logging.getLogger("huggingface_hub"), not are_progress_bars_disabled()
    kept, propagates, notes = logger.handlers[:], logger.propagate, _Notes()
    disable_progress_bars()
    logger.handlers, logger.propagate = [notes], False
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            yield
    finally:
        logger.handlers, logger.propagate = kept, propagates
        if bars:
            enable_progress_bars()
    for text in dict.fromkeys(_words(str(warning.message)) for warning in found if issubclass(warning.category, UserWarning)):
        progress.note("hub", text)


@contextmanager
def _limited() -> Iterator[None]:
    """Give up a connection that nothing comes through; the client library itself would wait for ever."""
    from huggingface_hub.utils import get_session

    session = get_session()
    kept = session.timeout
    if kept.read is None:
        session.timeout = type(kept)(_SILENT_S, connect=_CONNECT_S)
    try:
        yield
    finally:
        session.timeout = kept
