"""A Hugging Face Hub on loopback: the protocol that `huggingface_hub` speaks, over HTTP and LFS, in memory.

It counts every byte that arrives, per kind of request, and misbehaves as it is told: a status, or a connection that breaks after
any number of bytes of a request or a response. Files come from another host name (``localhost``), as on the real Hub, so that a
token that is sent along would be seen there. Xet is left out: whoever uses it sets ``HF_HUB_DISABLE_XET``.
"""

from __future__ import annotations

import base64
import fnmatch
import functools
import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN, READER, OTHER = "hf_ofMeWhoMayWrite", "hf_ofMeWhoMayRead", "hf_ofSomebodyElse"
# Some of what the Hub puts into a new data set's .gitattributes: files of these names go to the large storage.
_LARGE_KINDS = (".arrow", ".bin", ".gz", ".jpg", ".parquet", ".png", ".safetensors", ".zip", ".zst")
ATTRIBUTES = "".join(f"*{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in _LARGE_KINDS).encode()
_PIECE = 1 << 16  # bytes read at a time
_PAGE = 3  # entries of a listing in one answer, so that every client has to turn pages
_LARGE = 10_000_000  # bytes; from here on a file of any name goes to the large storage

# The kind of a request, by its method and path; the first that fits.
_KINDS = (
    ("whoami", "GET", r"/api/whoami-v2"),
    ("create", "POST", r"/api/repos/create"),
    ("move", "POST", r"/api/repos/move"),
    ("yaml", "POST", r"/api/validate-yaml"),
    ("preupload", "POST", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/preupload/(?P<revision>[^/]+)"),
    ("commit", "POST", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/commit/(?P<revision>[^/]+)"),
    ("branch", "POST|DELETE", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/branch/(?P<name>[^/]+)"),
    ("tag", "POST|DELETE", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/tag/(?P<revision>[^/]+)"),
    ("refs", "GET", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/refs"),
    ("commits", "GET", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/commits/(?P<revision>[^/]+)"),
    ("tree", "GET", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?"),
    ("paths", "POST", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)"),
    ("settings", "PUT", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/settings"),
    ("access", "GET", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/auth-check(?:/write)?"),
    ("info", "GET", r"/api/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?"),
    ("batch", "POST", r"/(?:(?P<type>dataset)s/)?(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch"),
    ("upload", "PUT", r"/storage/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})"),
    ("part", "PUT", r"/storage/(?P<upload>[0-9a-f]{32})/(?P<number>\d+)"),
    ("complete", "POST", r"/storage/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/complete/(?P<upload>[0-9a-f]{32})"),
    ("verify", "POST", r"/storage/(?P<type>\w+)s/(?P<repo>[^/]+/[^/]+)/verify"),
    ("resolve", "GET|HEAD", r"/(?:(?P<type>dataset)s/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"),
    ("download", "GET|HEAD", r"/cdn/(?P<oid>[0-9a-f]{64})"),
)

_SIGNED = ("upload", "part", "complete", "download")  # by their address, which holds no token
_READING = ("info", "access", "refs", "commits", "tree", "paths", "resolve")  # without a token, where a repository is public


@dataclass(frozen=True)
class Blob:
    """A file of a commit: its bytes, and whether the large storage has them."""

    data: bytes
    large: bool

    @property
    def oid(self) -> str:
        """The id that git gives it: of the file, or of the pointer to the large storage."""
        text = self.pointer if self.large else self.data
        return hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    def told(self, path: str) -> dict[str, Any]:
        """Return what listings say of it."""
        lfs = {"lfs": {"oid": self.sha256, "size": len(self.data), "pointerSize": len(self.pointer)}} if self.large else {}
        return {"type": "file", "path": path, "size": len(self.data), "oid": self.oid, **lfs}


@dataclass(frozen=True)
class Commit:
    """A commit: its title, its description, and every file of the repository after it."""

    title: str
    description: str
    files: Mapping[str, Blob]
    parent: str | None
    oid: str = field(default_factory=lambda: uuid.uuid4().hex + uuid.uuid4().hex[:8])


@dataclass
class Repo:
    """A repository; `stored` has the large objects that were uploaded to it, committed or not."""

    type: str
    name: str
    private: bool
    gated: bool = False
    full: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)

    def add(self, title: str, files: Mapping[str, Blob], *, branch: str = "main", description: str = "") -> Commit:
        """Commit a state of the files."""
        made = Commit(title, description, dict(files), self.branches.get(branch))
        self.commits[made.oid] = made
        self.branches[branch] = made.oid
        return made

    def write(self, **files: bytes) -> Commit:
        """Commit files as somebody else would; ``__`` stands for a slash, ``_dot_`` for a dot and ``_dash_`` for a hyphen."""
        signs = {"__": "/", "_dot_": ".", "_dash_": "-"}
        named = {functools.reduce(lambda text, sign: text.replace(*sign), signs.items(), name): files[name] for name in files}
        large = {name: Blob(data, name.endswith(_LARGE_KINDS)) for name, data in named.items()}
        return self.add("by somebody else", {**self.head.files, **large})

    def at(self, revision: str) -> Commit | None:
        """Return the commit of a branch, a tag or an id."""
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(oid)

    @property
    def head(self) -> Commit:
        return self.commits[self.branches["main"]]

    @property
    def log(self) -> list[str]:
        """Titles of the commits on main, newest first."""
        found, oid = [], self.branches.get("main")
        while oid is not None:
            found.append(self.commits[oid].title)
            oid = self.commits[oid].parent
        return found


@dataclass
class Fault:
    """What goes wrong with requests of a kind.

    Attributes:
        kind: of the request, as `_KINDS` calls it; ``*`` for every one.
        status, message, headers: of an answer in the place of the right one.
        request: bytes of the request's body that are read before the connection breaks.
        response: bytes of the answer that are sent before the connection breaks; the request was carried out.
        skip: requests of the kind that pass before.
        times: requests that it happens to.
    """

    kind: str
    status: int = 0
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    request: int | None = None
    response: int | None = None
    skip: int = 0
    times: int = 1_000_000


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class _Broken(Exception):  # noqa: N818
    """The connection is to be broken here."""


class Hub:
    """A running Hub.

    Attributes:
        url: its address.
        repos: (type, name) → repository.
        moved: (type, old name) → new name.
        faults: what goes wrong, each as often as it says.
        part: bytes of a part, from which on a file is uploaded in several.
        keep: whether `bodies` holds what arrived.
        arrived: called with all bytes that arrived so far, piece by piece.
        received: kind of request → bytes that arrived, head and body.
        requests: (kind, method, path, whether a token was sent) of every request.
    """

    def __init__(self) -> None:
        self.url, self.storage = "", ""
        self.repos: dict[tuple[str, str], Repo] = {}
        self.moved: dict[tuple[str, str], str] = {}
        self.users = {TOKEN: ("me", ["org"], "write"), READER: ("me", ["org"], "read"), OTHER: ("other", [], "write")}
        self.faults: list[Fault] = []
        self.part = 1 << 40
        self.keep = True
        self.bodies: list[bytes] = []
        self.arrived: Callable[[int], None] = lambda total: None
        self.received: Counter[str] = Counter()
        self.requests: list[tuple[str, str, str, bool]] = []
        self.parts: dict[str, dict[int, bytes]] = {}
        self.lock = threading.RLock()

    def break_(self, kind: str, **what: Any) -> None:
        """Let something go wrong; see `Fault`."""
        self.faults.append(Fault(kind, **what))

    def repo(self, name: str, *, type: str = "dataset", private: bool = True) -> Repo:
        """Return a repository, made with what the Hub puts into a new one."""
        if (type, name) not in self.repos:
            made = self.repos[type, name] = Repo(type, name, private)
            made.add("initial commit", {".gitattributes": Blob(ATTRIBUTES, False)})
        return self.repos[type, name]

    @property
    def seen(self) -> Counter[str]:
        """How many requests of each kind came."""
        return Counter(kind for kind, *_ in self.requests)

    def fault_for(self, kind: str) -> Fault | None:
        """Return what goes wrong with this request, and count it."""
        with self.lock:
            for fault in self.faults:
                if fault.kind in (kind, "*") and fault.times > 0:
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def answer(
        self, kind: str, method: str, about: Mapping[str, str], query: Mapping[str, Any], body: bytes, token: str
    ) -> Answer:
        """Carry out a request."""
        if kind == "nothing":
            return _refusal(404, "Not Found")
        signed = kind in _SIGNED
        if token and token not in self.users and not signed:
            return _refusal(401, "Invalid username or password.", message="Invalid credentials in Authorization header")
        if not token and not signed and kind not in _READING:
            return _refusal(401, "Invalid username or password.")
        if "repo" not in about:
            return getattr(self, f"_{kind}")(about, query, body, token)
        type_ = about.get("type") or "model"
        moved = self.moved.get((type_, about["repo"]))
        if moved is not None and not signed:
            path = query["path"].replace(about["repo"], moved, 1)
            return Answer(307, None, {"Location": path})
        repo = self.repos.get((type_, about["repo"]))
        if repo is None or (repo.private and not signed and not self._may(repo, token)):
            if token:
                return _refusal(404, "Repository not found", code="RepoNotFound")
            return _refusal(401, "Invalid username or password.", code="RepoNotFound")
        writes = kind in ("preupload", "commit", "branch", "tag", "settings", "batch") and method != "GET"
        if writes and (not self._may(repo, token) or self.users[token][2] == "read"):
            return _refusal(403, "You don't have the required permissions to perform this action.")
        if repo.gated and kind in ("resolve", "access") and not self._may(repo, token):
            text = f"Access to {type_} {repo.name} is restricted."
            return _refusal(403 if token else 401, text, code="GatedRepo")
        commit = None
        if about.get("revision"):
            commit = repo.at(unquote(about["revision"]))
            if commit is None:
                return _refusal(404, f"Invalid rev id: {unquote(about['revision'])}", code="RevisionNotFound")
        with self.lock:
            return getattr(self, f"_{kind}")(repo, commit, {**about, "method": method}, query, body)

    def _may(self, repo: Repo, token: str) -> bool:
        name, orgs, _ = self.users.get(token, ("", [], ""))
        return repo.name.partition("/")[0] in (name, *orgs)

    def _whoami(self, about: Any, query: Any, body: bytes, token: str) -> Answer:
        name, orgs, role = self.users[token]
        access = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
        return Answer(body={"type": "user", "name": name, "orgs": [{"name": org, "type": "org"} for org in orgs], "auth": access})

    def _yaml(self, about: Any, query: Any, body: bytes, token: str) -> Answer:
        import yaml

        content = json.loads(body)["content"]
        found = re.match(r"---\n(.*?)\n---", content, re.DOTALL)
        try:
            yaml.safe_load(found[1] if found else "")
        except yaml.YAMLError as e:
            return Answer(400, {"errors": [{"message": f"Invalid YAML: {str(e).splitlines()[0]}"}], "warnings": []})
        return Answer(body={"errors": [], "warnings": []})

    def _create(self, about: Any, query: Any, body: bytes, token: str) -> Answer:
        asked = json.loads(body)
        name, orgs, role = self.users[token]
        owner, type_ = asked.get("organization") or name, asked.get("type") or "model"
        if owner not in (name, *orgs) or role == "read":
            return _refusal(403, f'You don\'t have the rights to create a {type_} under the namespace "{owner}"')
        full = f"{owner}/{asked['name']}"
        url = f"{self.url}/{'datasets/' if type_ == 'dataset' else ''}{full}"
        with self.lock:
            if (type_, full) in self.repos:
                return Answer(409, {"error": f"You already created this {type_} repo: {full}", "url": url})
            self.repo(full, type=type_, private=asked.get("visibility") == "private" or asked.get("private") is True)
        return Answer(body={"url": url, "name": full, "id": uuid.uuid4().hex})

    def _move(self, about: Any, query: Any, body: bytes, token: str) -> Answer:
        asked = json.loads(body)
        self.rename(asked["fromRepo"], asked["toRepo"], type=asked["type"])
        return Answer(body={})

    def rename(self, old: str, new: str, *, type: str = "dataset") -> None:
        """Give a repository another name; the old one leads to it from now on."""
        self.repos[type, new] = repo = self.repos.pop((type, old))
        repo.name, self.moved[type, old] = new, new

    def _info(self, repo: Repo, commit: Commit | None, about: Any, query: Any, body: bytes) -> Answer:
        commit = commit or repo.head
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        told = {"_id": "1", "id": repo.name, "private": repo.private, "gated": "manual" if repo.gated else False}
        return Answer(body={**told, "sha": commit.oid, "siblings": siblings, "tags": [], "disabled": False})

    def _access(self, repo: Repo, commit: Any, about: Any, query: Any, body: bytes) -> Answer:
        return Answer(body={})

    def _refs(self, repo: Repo, commit: Any, about: Any, query: Any, body: bytes) -> Answer:
        branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": oid} for n, oid in repo.branches.items()]
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": oid} for n, oid in repo.tags.items()]
        return Answer(body={"branches": branches, "tags": tags, "converts": [], "pullRequests": []})

    def _commits(self, repo: Repo, commit: Commit, about: Any, query: Any, body: bytes) -> Answer:
        found, at = [], commit
        while at is not None:
            told = {"id": at.oid, "title": at.title, "message": at.description, "authors": [{"user": "me"}]}
            found.append({**told, "date": "2026-01-01T00:00:00.000Z"})
            at = repo.commits.get(at.parent or "")
        return Answer(body=found)

    def _tree(self, repo: Repo, commit: Commit, about: Any, query: Any, body: bytes) -> Answer:
        below = f"{unquote(about['path'])}/" if about.get("path") else ""
        found = {path: blob.told(path) for path, blob in commit.files.items() if path.startswith(below)}
        if below and not found:
            return _refusal(404, f"{below} does not exist on {commit.oid}", code="EntryNotFound")
        for path in list(found):
            for folder in _folders(path.removeprefix(below)):
                full = f"{below}{folder}"
                found[full] = {"type": "directory", "path": full, "size": 0, "oid": hashlib.sha1(full.encode()).hexdigest()}
        recursive = query.get("recursive", ["false"])[0].lower() == "true"
        told = [entry for path, entry in sorted(found.items()) if recursive or "/" not in path.removeprefix(below)]
        start = int(query.get("cursor", ["0"])[0])
        if start + _PAGE >= len(told):
            return Answer(body=told[start:])
        path = f"{query['path']}?recursive={recursive}&cursor={start + _PAGE}"
        return Answer(body=told[start : start + _PAGE], headers={"Link": f'<{self.url}{path}>; rel="next"'})

    def _paths(self, repo: Repo, commit: Commit, about: Any, query: Any, body: bytes) -> Answer:
        told = []
        for path in parse_qs(body.decode()).get("paths", []):
            if path in commit.files:
                told.append(commit.files[path].told(path))
            elif any(name.startswith(f"{path}/") for name in commit.files):
                told.append({"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0})
        return Answer(body=told)

    def _settings(self, repo: Repo, commit: Any, about: Any, query: Any, body: bytes) -> Answer:
        repo.private = json.loads(body).get("visibility") == "private"
        return Answer(body={"private": repo.private})

    def _preupload(self, repo: Repo, commit: Commit, about: Any, query: Any, body: bytes) -> Answer:
        asked = json.loads(body)
        ignored = asked.get("gitIgnore") or (commit.files[".gitignore"].data.decode() if ".gitignore" in commit.files else "")
        patterns = [line.strip() for line in ignored.splitlines() if line.strip()]
        marked = [line.split()[0] for line in ATTRIBUTES.decode().splitlines()]
        told = []
        for each in asked["files"]:
            assert len(base64.b64decode(each["sample"])) <= 512
            path, there = each["path"], commit.files.get(each["path"])
            large = each["size"] > _LARGE or any(fnmatch.fnmatch(path, pattern) for pattern in marked)
            ignore = any(fnmatch.fnmatch(path, pattern) for pattern in patterns)
            oid = {"oid": there.sha256 if there.large else there.oid} if there else {}
            told.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": ignore, **oid})
        return Answer(body={"files": told})

    def _batch(self, repo: Repo, commit: Any, about: Any, query: Any, body: bytes) -> Answer:
        asked = json.loads(body)
        assert asked["operation"] == "upload"
        assert asked["hash_algo"] == "sha256"
        told = [self._action(repo, each["oid"], each["size"]) for each in asked["objects"]]
        return Answer(body={"transfer": "basic", "objects": told}, headers={"Content-Type": "application/vnd.git-lfs+json"})

    def _action(self, repo: Repo, oid: str, size: int) -> dict[str, Any]:
        if oid in repo.stored:
            return {"oid": oid, "size": size}
        if repo.full:
            return {"oid": oid, "size": size, "error": {"code": 403, "message": "Private repository storage limit reached"}}
        where = f"{self.storage}/storage/{repo.type}s/{repo.name}"
        verify = {"href": f"{self.url}/storage/{repo.type}s/{repo.name}/verify"}
        if size <= self.part:
            return {"oid": oid, "size": size, "actions": {"upload": {"href": f"{where}/{oid}"}, "verify": verify}}
        upload = uuid.uuid4().hex
        self.parts[upload] = {}
        numbers = range(1, -(-size // self.part) + 1)
        header = {"chunk_size": str(self.part)} | {str(n): f"{self.storage}/storage/{upload}/{n}" for n in numbers}
        return {
            "oid": oid,
            "size": size,
            "actions": {"upload": {"href": f"{where}/complete/{upload}", "header": header}, "verify": verify},
        }

    def _upload(self, repo: Repo, commit: Any, about: Any, query: Any, body: bytes) -> Answer:
        if hashlib.sha256(body).hexdigest() != about["oid"]:
            return _refusal(400, "the hash does not match")
        repo.stored[about["oid"]] = body
        return Answer()

    def _part(self, about: Any, query: Any, body: bytes, token: str) -> Answer:
        self.parts[about["upload"]][int(about["number"])] = body
        return Answer(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})

    def _complete(self, repo: Repo, commit: Any, about: Any, query: Any, body: bytes) -> Answer:
        asked, parts = json.loads(body), self.parts[about["upload"]]
        told = [f'"{hashlib.md5(parts[part["partNumber"]]).hexdigest()}"' for part in asked["parts"]]
        if told != [part["etag"] for part in asked["parts"]] or len(told) != len(parts):
            return _refusal(400, "parts are missing")
        data = b"".join(parts[number] for number in sorted(parts))
        if hashlib.sha256(data).hexdigest() != asked["oid"]:
            return _refusal(400, "the hash does not match")
        repo.stored[asked["oid"]] = data
        return Answer()

    def _verify(self, repo: Repo, commit: Any, about: Any, query: Any, body: bytes) -> Answer:
        asked = json.loads(body)
        whole = len(repo.stored.get(asked["oid"], b"")) == asked["size"]
        return Answer() if whole else _refusal(404, "Object not found")

    def _commit(self, repo: Repo, commit: Commit, about: Any, query: Any, body: bytes) -> Answer:
        lines = [json.loads(line) for line in body.splitlines()]
        header, files = lines[0]["value"], dict(commit.files)
        branch = unquote(about["revision"])
        if branch not in repo.branches:
            return _refusal(404, f"Invalid rev id: {branch}", code="RevisionNotFound")
        if header.get("parentCommit") not in (None, repo.branches[branch]):
            return _refusal(412, "A commit has happened since. Please refresh and try again.")
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "deletedFile":
                if files.pop(value["path"], None) is None:
                    return _refusal(404, "A file with this name doesn't exist", code="EntryNotFound")
            elif line["key"] == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]), False)
            elif value["oid"] not in repo.stored:
                return _refusal(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
            else:
                files[value["path"]] = Blob(repo.stored[value["oid"]], True)
        made = repo.add(header["summary"], files, branch=branch, description=header.get("description") or "")
        kind = "datasets/" if repo.type == "dataset" else ""
        return Answer(
            body={"success": True, "commitOid": made.oid, "commitUrl": f"{self.url}/{kind}{repo.name}/commit/{made.oid}"}
        )

    def _branch(self, repo: Repo, commit: Any, about: Any, query: Any, body: bytes) -> Answer:
        name = unquote(about["name"])
        if about["method"] == "DELETE":
            return Answer() if repo.branches.pop(name, None) else _refusal(404, "no such branch", code="RevisionNotFound")
        if name in repo.branches:
            return _refusal(409, "Reference already exists")
        start = repo.at(json.loads(body or b"{}").get("startingPoint") or "main")
        if start is None:
            return _refusal(404, "no such revision", code="RevisionNotFound")
        repo.branches[name] = start.oid
        return Answer(201)

    def _tag(self, repo: Repo, commit: Commit, about: Any, query: Any, body: bytes) -> Answer:
        if about["method"] == "DELETE":
            return Answer() if repo.tags.pop(unquote(about["revision"]), None) else _refusal(404, "no such tag")
        name = json.loads(body)["tag"]
        if name in repo.tags:
            return _refusal(409, f"Tag reference exists already: {name}")
        if not is_ref(name):
            return _refusal(400, f"Invalid tag name: {name}")
        repo.tags[name] = commit.oid
        return Answer(201)

    def _resolve(self, repo: Repo, commit: Commit, about: Any, query: Any, body: bytes) -> Answer:
        blob, head = commit.files.get(unquote(about["path"])), {"X-Repo-Commit": commit.oid}
        if blob is None:
            return _refusal(404, "Entry not found", code="EntryNotFound", **head)
        if not blob.large:
            return _ranged(blob.data, query["range"], {**head, "ETag": f'"{blob.oid}"'})
        linked = {"X-Linked-Size": str(len(blob.data)), "X-Linked-ETag": f'"{blob.sha256}"'}
        return Answer(302, b"", {**head, **linked, "Location": f"{self.storage}/cdn/{blob.sha256}?{repo.type}={repo.name}"})

    def _download(self, about: Any, query: Any, body: bytes, token: str) -> Answer:
        (type_, names) = next((kind, query[kind]) for kind in ("dataset", "model") if kind in query)
        for commit in self.repos[type_, names[0]].commits.values():
            for blob in commit.files.values():
                if blob.large and blob.sha256 == about["oid"]:
                    return _ranged(blob.data, query["range"], {"ETag": f'"{blob.sha256}"'})
        return _refusal(404, "Not Found")


def is_ref(name: str) -> bool:
    """Return whether git takes a name for a tag (git check-ref-format)."""
    wrong = re.search(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$|\.$|^\.|/\.|\.lock(/|$)|^-", name)
    return bool(name) and name != "@" and wrong is None


def _folders(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    for at in range(1, len(parts) + 1):
        yield "/".join(parts[:at])


def _ranged(data: bytes, asked: str, headers: Mapping[str, str]) -> Answer:
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
    if not found:
        return Answer(200, data, {**headers, "Accept-Ranges": "bytes"})
    start, end = int(found[1]), min(int(found[2] or len(data) - 1), len(data) - 1)
    if start >= len(data):
        return Answer(416, b"", {"Content-Range": f"bytes */{len(data)}"})
    return Answer(206, data[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"})


def _refusal(status: int, error: str, *, code: str = "", message: str = "", **headers: str) -> Answer:
    told = {"X-Error-Code": code} if code else {}
    return Answer(status, {"error": error}, {**headers, **told, "X-Error-Message": message or error})


class _Quiet(ThreadingHTTPServer):
    """A server that says nothing of clients that went away; anything else is a mistake in this file, and shown."""

    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | _Broken):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def handle_one_request(self) -> None:
        self._arrived = 0
        super().handle_one_request()

    def do_GET(self) -> None:
        hub = self.hub
        parts = urlsplit(self.path)
        kind, about = _kind_of(self.command, parts.path)
        self._count(kind, len(self.raw_requestline) + sum(len(k) + len(v) + 4 for k, v in self.headers.items()) + 2)
        fault = hub.fault_for(kind)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        with hub.lock:
            hub.requests.append((kind, self.command, self.path, bool(token)))
        try:
            body = self._body(kind, fault)
            if body is None:  # whoever sent it was killed in the middle of it
                self.close_connection = True
                return
            if fault is not None and fault.status:
                told = _refusal(fault.status, fault.message, **fault.headers)
            else:
                query = {**parse_qs(parts.query), "path": parts.path, "range": self.headers.get("Range") or ""}
                told = hub.answer(kind, self.command, about, query, body, token)
            self._send(told, fault)
        except (_Broken, ConnectionError):
            self._reset()

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

    def _count(self, kind: str, n: int) -> None:
        with self.hub.lock:
            self.hub.received[kind] += n
            total = self.hub.received.total()
        self.hub.arrived(total)

    def _body(self, kind: str, fault: Fault | None) -> bytes | None:
        """Read the body of a request; None where the client did not send all of it."""
        limit = fault.request if fault is not None else None
        chunked = "chunked" in (self.headers.get("Transfer-Encoding") or "")
        pieces: list[bytes] = []
        left = self._next_chunk() if chunked else int(self.headers.get("Content-Length") or 0)
        n_read = 0
        while left:
            allowed = left if limit is None else min(left, limit - n_read)
            if not allowed:
                raise _Broken
            piece = self.rfile.read1(min(allowed, _PIECE))
            if not piece:
                return None
            pieces.append(piece)
            n_read, left = n_read + len(piece), left - len(piece)
            self._count(kind, len(piece))
            if not left and chunked:
                self.rfile.readline()
                left = self._next_chunk()
        if limit is not None:
            raise _Broken
        body = b"".join(pieces)
        if self.hub.keep:
            with self.hub.lock:
                self.hub.bodies.append(body)
        return body

    def _next_chunk(self) -> int:
        size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
        if not size:
            self.rfile.readline()
        return size

    def _send(self, told: Answer, fault: Fault | None) -> None:
        body = told.body if isinstance(told.body, bytes) else b"" if told.body is None else json.dumps(told.body).encode()
        head = {"Content-Type": "application/json", **told.headers, "Content-Length": str(len(body)), "X-Request-Id": "1"}
        lines = [f"HTTP/1.1 {told.status} -", *(f"{name}: {' '.join(value.split())}" for name, value in head.items())]
        raw = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + (b"" if self.command == "HEAD" else body)
        if fault is not None and fault.response is not None:
            self.wfile.write(raw[: fault.response])
            raise _Broken
        self.wfile.write(raw)

    def _reset(self) -> None:
        """Break the connection with RST, so that nobody takes it for a wish to end it."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _kind_of(method: str, path: str) -> tuple[str, dict[str, str]]:
    for kind, methods, pattern in _KINDS:
        if method in methods.split("|") and (found := re.fullmatch(pattern, path)):
            return kind, {name: value for name, value in found.groupdict().items() if value}
    return "nothing", {}


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve on a free port of loopback while the block runs."""
    hub = Hub()
    http = _Quiet(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    http.daemon_threads = True
    hub.url, hub.storage = (f"http://{host}:{http.server_address[1]}" for host in ("127.0.0.1", "localhost"))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def environment(hub: Hub, home: Path, *, token: str | None = TOKEN) -> dict[str, str]:
    """Return the variables with which another process uses this Hub, and nothing of the user's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING_FACE"))}
    told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1,localhost"}
    return {**kept, **told, **({"HF_TOKEN": token} if token else {})}


def point(monkeypatch: Any, hub: Hub, home: Path, *, token: str | None = TOKEN) -> None:
    """Have the client libraries of this process use a Hub: what they read from the environment when they are imported."""
    import datasets
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    for name, value in environment(hub, home, token=token).items():
        if name.startswith(("HF_", "NO_")):
            monkeypatch.setenv(name, value)
    if token is None:
        monkeypatch.delenv("HF_TOKEN", raising=False)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(_http, "_HUB_ORIGINS", frozenset({("http", "127.0.0.1", int(hub.url.rpartition(":")[2]))}))
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(datasets.config, "HUB_DATASETS_URL", hub.url + "/datasets/{repo_id}/resolve/{revision}/{path}")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(home / "datasets"))
    huggingface_hub.HfFileSystem.clear_instance_cache()
    huggingface_hub.utils.close_session()
