"""A fake Hub: an HTTP server with the protocol of the Hub, for the real client.

It keeps repositories, commits and large files in memory, records requests, and injects faults. It
checks digests, sizes, parent commits and access rights.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

# Not a real token, but in the format that scanners for tokens recognize.
TOKEN = "hf_" + "LoopbackTokenOfNobody" + "1234567890"
READ_TOKEN = "hf_" + "LoopbackTokenToRead" + "123456789012"
LARGE = (".safetensors", ".mp3", ".png")
GITATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Blob:
    """A file, in git or in the store of large files."""

    content: bytes
    is_large: bool = False

    @property
    def oid(self) -> str:
        return hashlib.sha256(self.content).hexdigest() if self.is_large else git_oid(self.content)

    def entry(self, path: str) -> dict[str, object]:
        size, pointer = len(self.content), b"version 1 " + self.oid.encode()
        if not self.is_large:
            return {"type": "file", "path": path, "size": size, "oid": self.oid}
        lfs = {"oid": self.oid, "size": size, "pointerSize": len(pointer)}
        return {"type": "file", "path": path, "size": size, "oid": git_oid(pointer), "lfs": lfs}


@dataclass(frozen=True)
class Commit:
    sha: str
    parent: Commit | None
    message: str
    files: dict[str, Blob]


@dataclass
class Repo:
    kind: str
    name: str
    private: bool
    sdk: str | None = None
    gated: bool = False
    refs: dict[str, Commit] = field(default_factory=dict)

    def at(self, revision: str) -> Commit | None:
        if revision in self.refs:
            return self.refs[revision]
        known = (commit for tip in self.refs.values() for commit in history(tip))
        return next((commit for commit in known if commit.sha == revision), None)

    def add(self, branch: str, message: str, files: dict[str, Blob]) -> Commit:
        parent = self.refs.get(branch)
        text = json.dumps([parent and parent.sha, message, {p: b.oid for p, b in files.items()}])
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.refs[branch] = Commit(sha, parent, message, files)
        return self.refs[branch]


def history(commit: Commit | None) -> Iterator[Commit]:
    while commit:
        yield commit
        commit = commit.parent


@dataclass
class Fault:
    """An injected fault: for which requests, and how many times."""

    method: str
    pattern: str
    times: int
    status: int | None = None  # respond with this status and error code
    code: str = ""
    cut_after: int | None = None  # or close the connection after this many bytes
    damage: int | None = None  # or change the byte at this position


class Refusal(Exception):  # noqa: N818 - a response, not an error
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class Hub:
    """State of the fake Hub, with methods for tests."""

    def __init__(self, endpoint: str = "") -> None:
        self.endpoint = endpoint
        self.users = {TOKEN: "ann", READ_TOKEN: "reader"}
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.leaks: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()

    @property
    def store(self) -> str:
        """Address of large files: another host, which must never receive a token."""
        return self.endpoint.replace("127.0.0.1", "localhost")

    def repo(self, name: str, kind: str = "model") -> Repo:
        return self.repos[kind, name]

    def files(self, name: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        commit = self.repo(name, kind).at(revision)
        assert commit is not None
        return {path: blob.content for path, blob in commit.files.items()}

    def history(self, name: str, revision: str = "main", kind: str = "model") -> list[str]:
        """Return the commit messages, newest first."""
        return [each.message for each in history(self.repo(name, kind).at(revision))]

    def put(self, name: str, files: dict[str, bytes | None], kind: str = "model") -> str:
        """Commit by hand, as a user on the web page would; None deletes a file."""
        repo = self.repos.setdefault((kind, name), Repo(kind, name, private=False))
        now = dict(repo.refs["main"].files) if "main" in repo.refs else {}
        for path, content in files.items():
            if content is None:
                del now[path]
            else:
                now[path] = Blob(content, path.endswith(LARGE))
                self.objects[now[path].oid] = content
        return repo.add("main", "By hand", now).sha

    def fail(self, method: str, pattern: str, *, times: int = 1, **fault: int | str) -> None:
        """Inject a fault into the next requests whose path matches, see `Fault`."""
        self.faults.append(Fault(method, pattern, times, **fault))

    def clear_faults(self) -> None:
        self.faults.clear()

    def count(self, method: str, pattern: str = "") -> int:
        """Return the number of matching requests."""
        wanted = [each.partition(" ") for each in self.requests]
        return sum(verb == method and bool(re.search(pattern, path)) for verb, _, path in wanted)

    def fault_of(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.pattern, path):
                    fault.times -= 1
                    return fault
        return None


@contextmanager
def running() -> Iterator[Hub]:
    """Run a fake Hub until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def metadata_errors(card: dict, kind: str) -> Iterator[str]:
    """Yield errors in the YAML of a card, by the documented rules of the Hub."""
    needed = {"model": ("license",), "space": ("sdk",)}[kind]
    yield from (f'"{key}" is missing' for key in needed if not isinstance(card.get(key), str))
    for key in ("base_model", "datasets"):
        for name in [card[key]] if isinstance(card.get(key), str) else card.get(key) or []:
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
                yield f'"{key}" names {name!r}, which is not an id'
    for index in card.get("model-index", []):
        for result in index["results"]:
            if not (result["task"].get("type") and result["dataset"].keys() >= {"name", "type"}):
                yield "a result without task and data"
            if not all(isinstance(each.get("value"), float | int) for each in result["metrics"]):
                yield "a result without a number"


_ROUTES: list[tuple[str, re.Pattern[str], str]] = []


def route(method: str, pattern: str) -> Callable[[Callable], Callable]:
    """Register a method of the handler for requests that match."""
    pattern = pattern.replace("KIND", "(?P<kind>model|space|dataset)s")
    pattern = pattern.replace("NAME", r"(?P<name>[\w.-]+/[\w.-]+)").replace("REV", "(?P<rev>[^/]+)")
    pattern = pattern.replace("PREFIX", r"(?:(?P<kind>space|dataset)s/)?")

    def register(method_of_handler: Callable) -> Callable:
        _ROUTES.append((method, re.compile(pattern + r"\Z"), method_of_handler.__name__))
        return method_of_handler

    return register


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together
    hub: Hub
    fault: Fault | None

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - names that http.server wants

    # -- All requests ------------------------------------------------------------------------------

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/store/") and self.headers.get("Authorization"):
            self.hub.leaks.append(self.path)
        self.hub.requests.append(f"{self.command} {unquote(path)}")
        self.fault = self.hub.fault_of(self.command, path)
        try:
            self.body = self._read()
            if self.fault and self.fault.status:
                raise Refusal(self.fault.status, self.fault.code, "Injected.")
            with self.hub.lock:
                status, content, headers = self._dispatch(path)
        except Refusal as no:
            values = {"X-Error-Code": no.code, "X-Error-Message": no.message}
            status, content = no.status, json.dumps({"error": no.message}).encode()
            headers = {name: value for name, value in values.items() if value}
        except ConnectionError:
            self.close_connection = True
            return
        self._send(status, content, headers)

    def _read(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        if self.fault and self.fault.cut_after is not None and self.command == "PUT":
            self.rfile.read(self.fault.cut_after)
            self.connection.shutdown(2)
            raise ConnectionError
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(length)

    def _chunk(self) -> bytes:
        content = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return content

    def _dispatch(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        for method, pattern, name in _ROUTES:
            match = pattern.match(path)
            if match and method == ("GET" if self.command == "HEAD" else self.command):
                groups = {key: unquote(value or "") for key, value in match.groupdict().items()}
                return getattr(self, name)(**groups)
        raise Refusal(404)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = self.fault
        if fault and fault.damage is not None:
            at = fault.damage % len(content)
            content = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        if fault and fault.cut_after is not None:
            self.wfile.write(content[: fault.cut_after])
            self.close_connection = True
        else:
            self.wfile.write(content)

    def _json(self, content: object, status: int = 200) -> tuple[int, bytes, dict[str, str]]:
        return status, json.dumps(content).encode(), {"Content-Type": "application/json"}

    # -- Access rights -----------------------------------------------------------------------------

    def _user(self) -> str | None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given and given not in self.hub.users:
            raise Refusal(401, message="Invalid credentials in Authorization header")
        return self.hub.users.get(given)

    def _repo(self, kind: str, name: str, *, write: bool = False) -> Repo:
        user, repo = self._user(), self.hub.repos.get((kind or "model", name))
        is_owner = user == name.split("/")[0]
        if repo is None or (repo.private and not is_owner):
            raise Refusal(404 if user else 401, "RepoNotFound", "Repository not found")
        if write and not is_owner:
            raise Refusal(403, message="You don't have the rights to write here")
        return repo

    def _commit(self, repo: Repo, revision: str) -> Commit:
        commit = repo.at(revision)
        if commit is None:
            raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    # -- Accounts and repositories -----------------------------------------------------------------

    @route("GET", "/api/whoami-v2")
    def whoami(self) -> tuple:
        user = self._user()
        if user is None:
            raise Refusal(401, message="Invalid username or password.")
        return self._json({"type": "user", "name": user, "fullname": user, "orgs": []})

    @route("POST", "/api/repos/create")
    def create(self) -> tuple:
        asked, user = json.loads(self.body), self._user()
        if user is None:
            raise Refusal(401, message="Invalid username or password.")
        kind, owner = asked.get("type") or "model", asked.get("organization") or user
        if owner != user or user == "reader":
            raise Refusal(403, message=f"You don't have the rights to create a {kind} for {owner}")
        name, prefix = f"{owner}/{asked['name']}", "" if kind == "model" else f"{kind}s/"
        url = {"url": f"{self.hub.endpoint}/{prefix}{name}"}
        if (kind, name) in self.hub.repos:
            return self._json({**url, "error": "You already created this repo"}, 409)
        repo = Repo(kind, name, asked.get("visibility") == "private", asked.get("sdk"))
        files = {".gitattributes": Blob(GITATTRIBUTES)}
        if kind == "space":  # the Hub writes a first page for a Space
            files["README.md"] = Blob(f"---\nsdk: {repo.sdk}\n---\n".encode())
        repo.add("main", "initial commit", files)
        self.hub.repos[kind, name] = repo
        return self._json(url)

    @route("POST", "/api/KIND/NAME/branch/REV")
    def branch(self, kind: str, name: str, rev: str) -> tuple:
        repo = self._repo(kind, name, write=True)
        if rev in repo.refs:
            raise Refusal(409, message="Reference already exists")
        asked = json.loads(self.body or b"{}")
        repo.refs[rev] = self._commit(repo, asked.get("startingPoint", "main"))
        return self._json({})

    @route("POST", "/api/validate-yaml")
    def validate(self) -> tuple:
        asked = json.loads(self.body)
        head = re.match(r"---\n(.*?)\n---\n", asked["content"], re.DOTALL)
        if not head:
            return self._json({"errors": [], "warnings": [{"message": "empty metadata"}]})
        found = metadata_errors(yaml.safe_load(head[1]), asked["repoType"])
        errors = [{"message": each} for each in found]
        return self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    @route("GET", r"/api/KIND/NAME(?:/revision/REV)?")
    def info(self, kind: str, name: str, rev: str) -> tuple:
        repo = self._repo(kind, name)
        commit = self._commit(repo, rev or "main")
        siblings = [{"rfilename": path} for path in commit.files]
        info = {"id": name, "sha": commit.sha, "private": repo.private, "gated": repo.gated}
        return self._json({**info, "tags": [], "siblings": siblings, "sdk": repo.sdk})

    @route("GET", "/api/KIND/NAME/refs")
    def refs(self, kind: str, name: str) -> tuple:
        refs = self._repo(kind, name).refs
        branches = [
            {"name": ref, "ref": f"refs/heads/{ref}", "targetCommit": commit.sha}
            for ref, commit in refs.items()
        ]
        return self._json({"branches": branches, "tags": [], "converts": []})

    @route("GET", "/api/KIND/NAME/commits/REV")
    def commits(self, kind: str, name: str, rev: str) -> tuple:
        found = history(self._commit(self._repo(kind, name), rev))
        date = "2026-01-01T00:00:00.000Z"
        return self._json(
            [
                {"id": each.sha, "title": each.message, "message": "", "date": date, "authors": []}
                for each in found
            ]
        )

    @route("GET", "/api/KIND/NAME/tree/REV(?:/.*)?")
    def tree(self, kind: str, name: str, rev: str) -> tuple:
        files = self._commit(self._repo(kind, name), rev).files
        folders = {path.rpartition("/")[0] for path in files} - {""}
        entries = [{"type": "directory", "path": path, "oid": "0" * 40} for path in folders]
        return self._json([*entries, *(blob.entry(path) for path, blob in files.items())])

    @route("POST", "/api/KIND/NAME/paths-info/REV")
    def paths(self, kind: str, name: str, rev: str) -> tuple:
        files = self._commit(self._repo(kind, name), rev).files
        given = parse_qs(self.body.decode())
        wanted = given.get("paths") or json.loads(self.body)["paths"]
        return self._json([files[path].entry(path) for path in wanted if path in files])

    # -- Writing -----------------------------------------------------------------------------------

    @route("POST", "/api/KIND/NAME/preupload/REV")
    def preupload(self, kind: str, name: str, rev: str) -> tuple:
        files = self._commit(self._repo(kind, name, write=True), rev).files
        modes = []
        for each in json.loads(self.body)["files"]:
            path, known = each["path"], files.get(each["path"])
            mode = "lfs" if path.endswith(LARGE) else "regular"
            oid = known and known.oid
            modes.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return self._json({"files": modes})

    @route("POST", r"/PREFIXNAME\.git/info/lfs/objects/batch")
    def batch(self, kind: str, name: str) -> tuple:
        self._repo(kind, name, write=True)
        asked = json.loads(self.body)
        return self._json({"transfer": "basic", "objects": [*map(self._object, asked["objects"])]})

    def _object(self, each: dict) -> dict:
        known = {"oid": each["oid"], "size": each["size"]}
        if each["oid"] in self.hub.objects:
            return known  # no actions: it need not be sent
        place = f"{self.hub.store}/store/{each['oid']}"
        verify = {"href": f"{self.hub.endpoint}/verify"}
        return {**known, "actions": {"upload": {"href": place}, "verify": verify}}

    @route("PUT", "/store/(?P<oid>[0-9a-f]{64})")
    def store(self, oid: str) -> tuple:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, message="The digest does not match")
        self.hub.objects[oid] = self.body
        return 200, b"", {}

    @route("POST", "/verify")
    def verify(self) -> tuple:
        asked = json.loads(self.body)
        if len(self.hub.objects.get(asked["oid"], b"")) != asked["size"]:
            raise Refusal(404, message="No such object")
        return self._json({})

    @route("POST", "/api/KIND/NAME/commit/REV")
    def commit(self, kind: str, name: str, rev: str) -> tuple:
        repo = self._repo(kind, name, write=True)
        before = self._commit(repo, rev)
        header, *changes = map(json.loads, self.body.splitlines())
        if header["value"].get("parentCommit", before.sha) != before.sha:
            raise Refusal(412, message="A commit has happened since. Please refresh and try again.")
        files = dict(before.files)
        for change in changes:
            self._change(files, change["key"], change["value"])
        after = repo.add(rev, header["value"]["summary"], files)
        url = f"{self.hub.endpoint}/{name}/commit/{after.sha}"
        return self._json({"success": True, "commitOid": after.sha, "commitUrl": url})

    def _change(self, files: dict[str, Blob], key: str, value: dict) -> None:
        if key == "file":
            files[value["path"]] = Blob(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if value["oid"] not in self.hub.objects:
                raise Refusal(400, message=f"No object {value['oid']} for {value['path']}")
            files[value["path"]] = Blob(self.hub.objects[value["oid"]], is_large=True)
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise Refusal(404, "EntryNotFound", "A file with this name doesn't exist")
        else:
            raise Refusal(400, message=f"Unknown operation {key}")

    # -- Reading -----------------------------------------------------------------------------------

    @route("GET", "/PREFIXNAME/resolve/REV/(?P<path>.+)")
    def resolve(self, kind: str, name: str, rev: str, path: str) -> tuple:
        repo = self._repo(kind, name)
        if repo.gated and self._user() != name.split("/")[0]:
            raise Refusal(403 if self._user() else 401, "GatedRepo", f"Access to {name} is asked")
        commit = self._commit(repo, rev)
        blob, headers = commit.files.get(path), {"X-Repo-Commit": commit.sha}
        if blob is None:
            missing = {
                **headers,
                "X-Error-Code": "EntryNotFound",
                "X-Error-Message": "Entry not found",
            }
            return 404, b"Entry not found", missing
        headers["ETag"] = f'"{blob.oid}"'
        if not blob.is_large:
            return self._part(blob.content, headers)
        headers |= {"X-Linked-Etag": f'"{blob.oid}"', "X-Linked-Size": str(len(blob.content))}
        return 302, b"", {**headers, "Location": f"{self.hub.store}/store/{blob.oid}"}

    @route("GET", "/store/(?P<oid>[0-9a-f]{64})")
    def stored(self, oid: str) -> tuple:
        if oid not in self.hub.objects:
            raise Refusal(404)
        return self._part(self.hub.objects[oid], {"ETag": f'"{oid}"'})

    def _part(self, content: bytes, headers: dict[str, str]) -> tuple:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return 200, content, {**headers, "Accept-Ranges": "bytes"}
        first, last = int(asked[1]), int(asked[2] or len(content) - 1)
        headers = {**headers, "Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return 206, content[first : last + 1], headers
