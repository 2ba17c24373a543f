"""Pushes a folder to a repository of the Hugging Face Hub: all of it in one commit, checked, then tagged. Writes no files.

Data files are sent first and committed last, so that whatever stops a push, the repository is as it was, and what was sent is not
sent again. `RECORD` in the repository says which files a push wrote; every other file is somebody's own and stays.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import polars as pl

from curate import __version__, progress
from curate.cards.merging import is_ours, merge
from curate.errors import HubError, InputError
from curate.hub import client
from curate.hub.client import Address
from curate.manifest.schema import SPLITS

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.hf_api import RepoFile

__all__ = [
    "RECORD",
    "SCHEME",
    "HubFile",
    "PushResult",
    "Repository",
    "Work",
    "check_manifest",
    "open_repository",
    "push",
    "push_work",
]

SCHEME = "hub:"
RECORD = "curate-push.json"  # in the repository: what was pushed, and which files are a push's
_CARD = "README.md"
_OWN = (_CARD, RECORD, ".gitattributes")  # never in the way of a push
_DATA = (".parquet", ".jsonl", ".json", ".csv", ".tsv", ".arrow", ".feather", ".safetensors", ".bin", ".gguf")
_FORMAT = 1  # of the record
_BLOCK = 1 << 20  # bytes read at a time
_REGULAR = 10_000_000  # bytes; larger files always go to the large storage, and git's own hash is not needed
_TOGETHER = 4  # files sent at a time; so many at most are begun and not whole when a push is killed


@dataclass(frozen=True)
class HubFile:
    """A file of a push.

    Attributes:
        path: in the repository.
        size: bytes; of a file that goes, as it is there.
        change: ``new``, ``changed``, ``same`` or ``gone``.
    """

    path: str
    size: int
    change: str


@dataclass(frozen=True)
class PushResult:
    """What `push` did, or would do.

    Attributes:
        repo: ``org/name``.
        repo_type: ``dataset`` or ``model``.
        url: its page.
        private: whether only its owners see it.
        created: whether this push made it.
        revision: the commit that has the files; None where nothing was pushed.
        tag: that names it; None without one.
        committed: whether there was anything to commit.
        files: of the push, by path.
        card: the README as it is pushed; empty without one.
        dry_run: whether nothing was done.
        load: the command that loads it.
    """

    repo: str
    repo_type: str
    url: str
    private: bool
    created: bool
    revision: str | None
    tag: str | None
    committed: bool
    files: tuple[HubFile, ...]
    card: str
    dry_run: bool
    load: str


@dataclass(frozen=True)
class _Local:
    """A file to push: where its bytes are, and the hashes by which the Hub knows it."""

    content: Path | bytes
    size: int
    sha256: str
    git: str | None  # of files that may be stored in git itself

    def is_at(self, there: RepoFile | None) -> bool:
        """Return whether a file of the repository has these bytes."""
        if there is None or there.size != self.size:
            return False
        return there.lfs.sha256 == self.sha256 if there.lfs is not None else there.blob_id == self.git


@dataclass(frozen=True)
class Work:
    """What is to be pushed; the fields are the arguments of `push`."""

    folder: Path
    files: Sequence[Path] | None
    about: Mapping[str, Any]
    tag: str | None
    message: str | None
    description: str


@dataclass(frozen=True)
class _Plan:
    """What a push is to make of a repository: files by path, and those that go."""

    work: Work
    content: Mapping[str, _Local]
    gone: Sequence[str]

    def is_done(self, files: Mapping[str, RepoFile]) -> bool:
        """Return whether the files of a commit are so."""
        return all(local.is_at(files.get(path)) for path, local in self.content.items()) and not set(self.gone) & set(files)


@dataclass
class Repository:
    """A repository as it was when a push looked at it, and what the push did to it since.

    Attributes:
        address: of it, with its namespace.
        private: whether its owners alone see it, or shall.
        head: newest commit of main; None where the repository is not there yet.
        files: of that commit, by path.
        tags: tag → commit.
        record: what the record of the push before says; empty without one.
        card: its README.
        created: whether the push made it.
        sent: large files that the push has sent.
        commit: that the push made.
    """

    address: Address
    private: bool
    head: str | None = None
    files: dict[str, RepoFile] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    created: bool = False
    sent: int = 0
    commit: str | None = None

    def so_far(self) -> str:
        """Say what a push that failed has left here."""
        if self.commit is not None:
            return f"its files are there, as commit {self.commit[:12]}, and are not tagged: run it again"
        made = f"{self.address} was made and has no files yet" if self.created else ""
        sent = f"files sent and waiting for the commit, not to be sent again: {self.sent}" if self.sent else ""
        return "; ".join(part for part in (made, sent) if part)


def push(
    folder: str | Path,
    repo: str,
    *,
    repo_type: str = "dataset",
    private: bool = True,
    tag: str | None = None,
    message: str | None = None,
    description: str = "",
    files: Sequence[Path] | None = None,
    about: Mapping[str, Any] | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> PushResult:
    """Push the files of a folder to a repository of the Hub, in one commit on its main branch, and tag it.

    What is there already is not sent, and where nothing differs nothing is committed. Files of an earlier push that are not in
    this one are deleted in the same commit. The text that a person wrote into the README stays.

    Args:
        folder: that holds the files.
        repo: ``org/name``, or ``name`` in the user's own namespace; ``hub:`` before it is taken off. It is made if missing.
        repo_type: ``dataset`` or ``model``.
        private: whether it is to be seen by its owners alone; one that is there must be so already.
        tag: of the commit; one that is there already is left where it is.
        message: title of the commit; the number of files unless given.
        description: further lines of it.
        files: below the folder, to push; unless given, all but hidden ones and links.
        about: what the record in the repository says beside the files, as JSON-able data; ``manifest`` names whose rows they are.
        force: push to a repository that holds other files, or the rows of another manifest; other files stay.
        dry_run: look at the repository and say what would be done.

    Raises:
        HubError: the Hub cannot be reached or refuses; the message says what is at the repository by then.
        InputError: a name breaks a rule, or the repository holds what is not to be written over.
    """
    if tag is not None:
        _check_tag(tag)
    found = open_repository(repo, repo_type=repo_type, private=private, dry_run=dry_run)
    work = Work(Path(folder), files, dict(about or {}), tag, message, description)
    return push_work(found, work, force=force, dry_run=dry_run)


def open_repository(repo: str, *, repo_type: str = "dataset", private: bool = True, dry_run: bool = False) -> Repository:
    """Look at a repository that is to be pushed to.

    Args:
        repo, repo_type, private: as `push` takes them.
        dry_run: without a login, or without a network, take it for one that is not there yet, and say so.

    Raises:
        HubError, InputError: as `push` does.
    """
    address, mine = _full(_address(repo, repo_type), dry_run=dry_run)
    found = _look(address, private=private)
    owner = address.name.partition("/")[0]
    if found.head is None and mine and owner.lower() not in [name.lower() for name in mine]:
        raise HubError(
            f"push to {address}: there is no such repository, and none can be made in {owner!r}, which is neither you "
            f"({mine[0]}) nor an organisation of yours ({', '.join(mine[1:]) or 'you have none'}): name one of these"
        )
    return found


def push_work(found: Repository, work: Work, *, force: bool = False, dry_run: bool = False) -> PushResult:
    """Push to a repository that was looked at; see `push`.

    Raises:
        HubError, InputError: as `push` does.
    """
    check_manifest(found, work.about.get("manifest"), force=force)
    content = _contents(work.folder, work.files)
    if _CARD in content:
        content[_CARD] = _merged(found, content[_CARD])
    _check_room(found, content, force=force)
    content[RECORD] = _local(_record(content, work.about))
    plan = _Plan(work, content, _gone(found, content))
    changes = tuple(_changes(found, plan))
    created, tag = found.head is None, work.tag
    if not dry_run:
        if any(change.change != "same" for change in changes):
            _send(found, plan)
        if tag is not None:
            _tag(found, tag)
    revision = found.commit or found.head
    named = tag is not None and (dry_run or found.commit is None or found.tags.get(tag) == revision)
    return PushResult(
        repo=found.address.name,
        repo_type=found.address.type,
        url=found.address.url,
        private=found.private,
        created=created,
        revision=None if dry_run else revision,
        tag=tag,
        committed=found.commit is not None,
        files=changes,
        card=_text(content[_CARD]) if _CARD in content else "",
        dry_run=dry_run,
        load=_load(found.address, tag if named else revision),
    )


def _load(address: Address, revision: str | None) -> str:
    if address.type == "model":
        return f'huggingface_hub.snapshot_download("{address.name}", revision="{revision}")'
    return f'datasets.load_dataset("{address.name}", revision="{revision}")'


def _check_tag(tag: str) -> None:
    wrong = re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[/.-]|[/.]$|/\.|\.lock(/|$)|^@$|^$", tag)
    if wrong is not None:
        raise InputError(
            f"tag {tag!r}: git takes no {wrong.group()!r} there (git help check-ref-format): use letters, digits and -"
        )


def _address(repo: str, repo_type: str) -> Address:
    address = client.parse_address(repo, scheme=SCHEME, type=repo_type)
    if address.revision is not None or address.config is not None:
        raise InputError(f"push to {repo!r}: a push goes to the main branch and names no revision and no config: leave it out")
    return address


def _full(address: Address, *, dry_run: bool) -> tuple[Address, Sequence[str]]:
    """Return an address with the user's namespace where it names none, and the namespaces that are the user's.

    Raises:
        HubError: nobody is logged in, or the token may only read; a dry run goes on without a login.
    """
    try:
        user = client.login(f"push to {address}")
    except HubError as e:
        if not dry_run:
            raise
        progress.note("push", f"{e}. What follows is a push to a repository that is not there yet")
        return address, ()
    if user["role"] == "read":
        raise HubError(f"push to {address}: the token of {user['name']!r} may only read: use one that may write (HF_TOKEN)")
    full = address if "/" in address.name else replace(address, name=f"{user['name']}/{address.name}")
    return full, (user["name"], *user["orgs"])


def _look(address: Address, *, private: bool) -> Repository:
    """Look at a repository.

    Args:
        address: of it, with a namespace; without one it is taken to be not there.
        private: whether it is to be seen by its owners alone.

    Raises:
        HubError: it cannot be looked at.
        InputError: it has another name by now, or is seen by others than was asked.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if "/" not in address.name:
        return Repository(address, private)
    with client.asking(address, "push to"):
        api = client.client()
        try:
            info: Any = client.patiently(lambda: api.repo_info(address.name, repo_type=address.type))
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return Repository(address, private)
    if str(info.id).lower() != address.name.lower():
        raise InputError(f"push to {address}: it is called {info.id} now: push to {SCHEME}{info.id}")
    if bool(info.private) != private:
        there, flag = ("private", "leave out --public") if info.private else ("public", "add --public")
        raise InputError(
            f"push to {address}: it is {there}, and this push is not: {flag}, or change that first in {address.url}/settings"
        )
    found = Repository(replace(address, name=str(info.id)), bool(info.private), str(info.sha))
    with client.asking(address, "push to"):
        found.files = _tree(api, found.address, str(info.sha))
        refs = client.patiently(lambda: api.list_repo_refs(address.name, repo_type=address.type))
        found.tags = {tag.name: tag.target_commit for tag in refs.tags}
        found.card = _read(api, found, _CARD).decode("utf-8", "replace")
        record = _read(api, found, RECORD)
    found.record = _as_record(record)
    return found


def _tree(api: HfApi, address: Address, revision: str) -> dict[str, RepoFile]:
    from huggingface_hub.hf_api import RepoFile

    entries = api.list_repo_tree(address.name, recursive=True, revision=revision, repo_type=address.type)
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _read(api: HfApi, found: Repository, path: str) -> bytes:
    """Return a small file of the repository; empty where it is not there."""
    if path not in found.files:
        return b""
    local = client.patiently(
        lambda: api.hf_hub_download(found.address.name, path, repo_type=found.address.type, revision=found.head)
    )
    return Path(local).read_bytes()


def _as_record(text: bytes) -> dict[str, Any]:
    """Return what a record says; nothing where it is none of ours."""
    try:
        record = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(record, dict) or "curate_push" not in record or not isinstance(record.get("files"), dict):
        return {}
    domains = record.get("domains")
    counts = {name: n for name, n in domains.items() if isinstance(n, int)} if isinstance(domains, dict) else {}
    return {**record, "domains": counts}


def _contents(folder: Path, files: Sequence[Path] | None) -> dict[str, _Local]:
    """Return the files to push by their path in the repository, with their hashes.

    Raises:
        InputError: there is no file, or one is not below the folder.
    """
    root = folder.resolve()
    if files is None:
        found = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        files = [path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    content = {}
    with progress.step("hash", len(files)) as counter:
        for path in files:
            whole = path.resolve()
            if not whole.is_relative_to(root):
                raise InputError(f"push of {str(folder)!r}: {str(path)!r} is not in it, and only its files are pushed")
            content[whole.relative_to(root).as_posix()] = _local(whole)
            counter.advance()
    if not content:
        raise InputError(f"push of {str(folder)!r}: there are no files in it")
    return dict(sorted(content.items()))


def _local(content: Path | bytes) -> _Local:
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    sha, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    for block in _blocks(content):
        sha.update(block)
        if size <= _REGULAR:
            git.update(block)
    return _Local(content, size, sha.hexdigest(), git.hexdigest() if size <= _REGULAR else None)


def _blocks(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _text(local: _Local) -> str:
    return b"".join(_blocks(local.content)).decode("utf-8", "replace")


def _merged(found: Repository, card: _Local) -> _Local:
    """Return the card with what a person wrote into the one that is there.

    Raises:
        InputError: the one that is there cannot be taken apart.
    """
    new, existing = _text(card), found.card
    if not existing.strip() or existing == new:
        return card
    if is_ours(new):
        try:
            return _local(merge(existing, new).encode("utf-8"))
        except InputError as e:
            raise InputError(f"push to {found.address}: README.md: {e}") from e
    if found.record.get("card") == hashlib.sha256(existing.encode("utf-8")).hexdigest():
        return card
    progress.note("push", f"{found.address}: the README.md that is there was written by somebody else, and stays")
    return _local(existing.encode("utf-8"))


def check_manifest(found: Repository, name: object, *, force: bool) -> None:
    """Refuse to replace the rows of another manifest unasked.

    Raises:
        InputError: the repository holds them.
    """
    before = found.record.get("manifest")
    if before is not None and before != name and not force:
        raise InputError(
            f"push to {found.address}: it holds the rows of {before!r}: push to another repository, such as "
            f"{SCHEME}{found.address}-2, or replace them with --force"
        )


def _check_room(found: Repository, content: Mapping[str, _Local], *, force: bool) -> None:
    """Refuse to mix a push with what somebody else has put into the repository.

    Raises:
        InputError: it holds a file that would be written over, or data that a reader would mix in.
    """
    name, ours = found.address.name, found.record.get("files", {})
    way_out = f"push to another repository, such as {SCHEME}{name}-2"
    foreign = {path: there for path, there in found.files.items() if path not in _OWN and not _is_ours(there, ours.get(path))}
    for path, there in foreign.items():
        if path in content and not content[path].is_at(there):
            raise InputError(f"push to {name}: {path!r} is there, no push wrote it, and it would be written over: {way_out}")
    data = [path for path in foreign if path.endswith(_DATA) and path not in content]
    tops = {_top(path) for path in content if path.endswith(_DATA)}  # below which the patterns of configs are
    mixed = [path for path in data if _split_of(path) and _top(path) in tops]
    if mixed or (data and not force):
        path = (mixed or data)[0]
        hint = "" if mixed else ", or leave it there with --force"
        raise InputError(f"push to {name}: it holds data that no push wrote, {path!r}{_columns(found, path)}: {way_out}{hint}")


def _top(path: str) -> str:
    """Return the first folder of a path; empty where it is in none."""
    return path.rpartition("/")[0].partition("/")[0]


def _split_of(path: str) -> str:
    """Return the split that `datasets` takes a file for by its name, such as ``test-00000-of-00001.parquet``; empty for none."""
    name = PurePosixPath(path).name
    return next((split for split in SPLITS if name.startswith((f"{split}-", f"{split}."))), "")


def _is_ours(there: RepoFile, recorded: object) -> bool:
    """Return whether a file is as a push left it."""
    if not isinstance(recorded, Mapping):
        return False
    return bool(recorded.get("sha256") == there.lfs.sha256 if there.lfs is not None else recorded.get("git") == there.blob_id)


def _columns(found: Repository, path: str) -> str:
    """Return the columns of a Parquet file of the repository, in brackets; nothing where they cannot be read."""
    if not path.endswith(".parquet"):
        return ""
    from huggingface_hub import HfFileSystem

    kind = "datasets/" if found.address.type == "dataset" else ""
    try:
        with (
            client.asking(found.address, "push to"),
            HfFileSystem().open(f"{kind}{found.address.name}/{path}", revision=found.head) as f,
        ):
            names = list(pl.read_parquet_schema(f))
    except (HubError, pl.exceptions.PolarsError):
        return ""
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f" (columns {shown})"


def _record(content: Mapping[str, _Local], about: Mapping[str, Any]) -> bytes:
    """Return what the repository says of the push: no time and no path, so that the same push is the same record."""
    files = {
        path: {"size": local.size, "sha256": local.sha256, **({"git": local.git} if local.git else {})}
        for path, local in content.items()
        if path != _CARD
    }
    card = {"card": content[_CARD].sha256} if _CARD in content else {}
    told = {"curate_push": _FORMAT, "package": __version__, **about, **card, "files": files}
    return (json.dumps(told, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "replace")


def _gone(found: Repository, content: Mapping[str, _Local]) -> list[str]:
    """Return the files of an earlier push that this one has not; one that somebody changed is theirs, and a note says so."""
    gone = []
    for path, recorded in found.record.get("files", {}).items():
        if path in content or path not in found.files:
            continue
        if _is_ours(found.files[path], recorded):
            gone.append(path)
        else:
            progress.note("push", f"{found.address}: {path!r} was changed since an earlier push wrote it, and stays")
    return sorted(gone)


def _changes(found: Repository, plan: _Plan) -> Iterator[HubFile]:
    for path, local in plan.content.items():
        there = found.files.get(path)
        yield HubFile(path, local.size, "new" if there is None else "same" if local.is_at(there) else "changed")
    for path in plan.gone:
        yield HubFile(path, found.files[path].size, "gone")


def _send(found: Repository, plan: _Plan) -> None:
    """Send what is not there, commit it, and check that it is there as it is here."""
    from huggingface_hub import CommitOperationDelete

    address = found.address
    with _interruptible(found), client.asking(address, "push to", so_far=found.so_far):
        api = client.client()
        if found.head is None:
            _create(api, found)
        wanted = {path: local for path, local in plan.content.items() if not local.is_at(found.files.get(path))}
        added = [_addition(path, local) for path, local in wanted.items()]
        _upload(api, found, added)
        found.commit = _commit(api, found, plan, [*added, *(CommitOperationDelete(path) for path in plan.gone)])
        _check(client.patiently(lambda: _tree(api, address, str(found.commit))), found, plan)


@contextmanager
def _interruptible(found: Repository) -> Iterator[None]:
    """Have Ctrl-C say what is at the repository by then."""
    try:
        yield
    except KeyboardInterrupt as e:
        left = found.so_far() or f"{found.address} is as it was"
        raise KeyboardInterrupt(f"{left}; run the same command again to continue") from e


def _create(api: HfApi, found: Repository) -> None:
    name, kind = found.address.name, found.address.type
    client.patiently(lambda: api.create_repo(name, private=found.private, repo_type=kind, exist_ok=True))
    found.created = True
    info: Any = client.patiently(lambda: api.repo_info(name, repo_type=kind))
    if bool(info.private) != found.private:  # somebody else was quicker, or the organisation has a rule of its own
        there = "private" if info.private else "public"
        raise HubError(
            f"push to {found.address}: it was made and is {there}, which was not asked for; nothing was sent: see its "
            f"settings at {found.address.url}/settings"
        )
    found.head = str(info.sha)
    found.files = client.patiently(lambda: _tree(api, found.address, str(info.sha)))


def _addition(path: str, local: _Local) -> CommitOperationAdd:
    from huggingface_hub import CommitOperationAdd

    made = CommitOperationAdd(path, local.content)
    made.upload_info.sha256 = bytes.fromhex(local.sha256)  # known already, so that the file is not read once more
    return made


def _upload(api: HfApi, found: Repository, added: Sequence[CommitOperationAdd]) -> None:
    """Send the files, a few at a time; each counts as sent once it is whole.

    Raises:
        HubError: a rule of the repository (its .gitignore) would leave a file out.
    """
    with progress.step("push", len(added)) as counter:
        for at in range(0, len(added), _TOGETHER):
            part = added[at : at + _TOGETHER]
            api.preupload_lfs_files(found.address.name, part, repo_type=found.address.type, num_threads=_TOGETHER)
            ignored = [addition.path_in_repo for addition in part if getattr(addition, "_should_ignore", False)]
            if ignored:
                raise HubError(f"push to {found.address}: its .gitignore leaves out {ignored[0]!r}: take that rule out of it")
            found.sent += sum(getattr(addition, "_upload_mode", "") == "lfs" for addition in part)
            counter.advance(len(part))


def _commit(api: HfApi, found: Repository, plan: _Plan, operations: Sequence[Any]) -> str:
    """Commit on main, unless somebody else has since `found` was looked at; return the commit.

    A commit whose answer was lost is found again by its files.
    """
    from huggingface_hub.errors import HTTPError

    address = found.address

    def once() -> str:
        try:
            made = api.create_commit(
                address.name,
                operations,
                commit_message=plan.work.message or f"{len(plan.content) - 1} files",
                commit_description=plan.work.description,
                repo_type=address.type,
                parent_commit=found.head,
            )
        except HTTPError:
            now: Any = client.patiently(lambda: api.repo_info(address.name, repo_type=address.type))
            if now.sha != found.head and plan.is_done(client.patiently(lambda: _tree(api, address, now.sha))):
                return str(now.sha)
            raise
        return str(made.oid)

    return client.patiently(once)


def _check(files: Mapping[str, RepoFile], found: Repository, plan: _Plan) -> None:
    """Compare sizes and hashes of the commit's files with those here.

    Raises:
        HubError: one differs.
    """
    if plan.is_done(files):
        return
    wrong = [path for path, local in plan.content.items() if not local.is_at(files.get(path))]
    path = (wrong or [path for path in plan.gone if path in files])[0]
    there = f"{files[path].size:,} bytes" if path in files else "missing"
    here = f"{plan.content[path].size:,} bytes" if path in plan.content else "deleted"
    raise HubError(
        f"push to {found.address}: commit {str(found.commit)[:12]} is there, and its file {path!r} is not as it is here ({there} "
        f"there, {here} here); it was not tagged: run it again"
    )


def _tag(found: Repository, tag: str) -> None:
    """Tag the commit. A tag that another commit has already stays there; where there is a new commit, a note says so."""
    from huggingface_hub.errors import HfHubHTTPError

    address, revision = found.address, found.commit or found.head
    with client.asking(address, "push to", so_far=found.so_far):
        api = client.client()
        if tag not in found.tags:
            try:
                client.patiently(lambda: api.create_tag(address.name, tag=tag, revision=revision, repo_type=address.type))
                found.tags[tag] = str(revision)
            except HfHubHTTPError as e:
                if e.response.status_code != 409:  # else an earlier try, or another push, made it
                    raise
                refs = client.patiently(lambda: api.list_repo_refs(address.name, repo_type=address.type))
                found.tags = {each.name: each.target_commit for each in refs.tags}
    if found.commit is not None and found.tags.get(tag) != revision:
        there = found.tags.get(tag, "?")[:12]
        progress.note("push", f"{address}: the tag {tag} stays at commit {there}; this push is commit {str(revision)[:12]}")
