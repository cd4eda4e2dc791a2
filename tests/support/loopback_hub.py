"""A hub of our own on the loopback interface, with enough of the real one's API for downloads."""

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server knows, and what it was asked for."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)  # data sets as datasets/owner/name
    gated: set[str] = field(default_factory=set)
    fail_with: dict[str, int] = field(default_factory=dict)  # path of a file, or a repository -> HTTP status
    cut_off: set[str] = field(default_factory=set)  # paths of files whose download breaks in the middle
    fetched: list[str] = field(default_factory=list)
    asked: int = 0
    url: str = ""

    def answer(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for one request, as the hub's own API would have them."""
        self.asked += 1
        path, _, query = path.partition("?")
        path = path.strip("/")  # a revision such as refs/convert/parquet stays one part: its slashes are quoted
        if path.startswith("api/models/"):
            return self._answer_api(path.removeprefix("api/models/"), "", query, body)
        if path.startswith("api/datasets/"):
            return self._answer_api(path.removeprefix("api/datasets/"), "datasets/", query, body)
        repo, _, rest = path.partition("/resolve/")
        name = unquote(rest.partition("/")[2])
        if repo not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound"} if rest else {}, b"{}"
        if repo in self.gated:
            return 401, {"X-Error-Code": "GatedRepo"}, b"{}"
        if name in self.fail_with:
            return self.fail_with[name], {}, b"{}"
        if name not in self.repositories[repo]:
            # like the real one, it names the commit also where the file is not: "no such file" can then be cached
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b"{}"
        body = self.repositories[repo][name]
        if method == "GET":
            self.fetched.append(f"{repo}/{name}")
        return 200, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}, body

    def _answer_api(self, path: str, kind: str, query: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        owner, name, *rest = map(unquote, path.split("/"))
        repo = f"{kind}{owner}/{name}"
        if repo not in self.repositories:
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if repo in self.fail_with:
            return self.fail_with[repo], {}, b"{}"
        files = self.repositories[repo]
        if rest[:1] == ["tree"]:
            return self._answer_tree(files, "/".join(rest[2:]), "recursive=true" in query.lower())
        if rest[:1] == ["paths-info"]:
            asked = json.loads(body)["paths"]
            return 200, {}, json.dumps([_entry(n, files) for n in asked if _is_there(n, files)]).encode()
        about = {"id": f"{owner}/{name}", "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}
        return 200, {}, json.dumps(about).encode()

    def _answer_tree(self, files: dict[str, bytes], folder: str, recursive: bool) -> tuple[int, dict[str, str], bytes]:
        """What is in a folder, or anywhere below it."""
        if folder and not _is_there(folder, files):
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        prefix = f"{folder}/" if folder else ""
        folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
        below = [name for name in [*sorted(folders), *files] if name.startswith(prefix)]
        entries = [_entry(name, files) for name in below if recursive or "/" not in name.removeprefix(prefix)]
        return 200, {}, json.dumps(entries).encode()


def _is_there(name: str, files: dict[str, bytes]) -> bool:
    return name in files or any(file.startswith(f"{name}/") for file in files)


def _entry(name: str, files: dict[str, bytes]) -> dict[str, object]:
    """What the hub says of a file or a folder of a repository."""
    if name not in files:
        return {"type": "directory", "path": name, "oid": "0" * 40}
    return {"type": "file", "path": name, "size": len(files[name]), "oid": "0" * 40}


def handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """The HTTP side of a hub."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = hub.answer(self.command, self.path, sent)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                cut = self.path.rpartition("/")[2] in hub.cut_off
                self.wfile.write(body[: len(body) // 2] if cut else body)
                self.close_connection = cut

        do_GET = do_HEAD = do_POST = _reply

        def log_message(self, *_: object) -> None:
            """Says nothing: the tests look at the hub's lists."""

    return Handler


class QuietServer(ThreadingHTTPServer):
    """Says nothing of a client that has gone: its line would land in another test's captured output."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Tells of all other errors as usual."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on the loopback interface while the block runs; its address."""
    server = QuietServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub at `hub.url` while the block runs."""
    with listening(handler_for(hub)) as hub.url:
        yield hub
