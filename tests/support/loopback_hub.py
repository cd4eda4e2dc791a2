"""A hub of our own on the loopback interface, with enough of the real one's API for downloads."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server knows, and what it was asked for."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    fail_with: dict[str, int] = field(default_factory=dict)  # path of a file, or a repository -> HTTP status
    cut_off: set[str] = field(default_factory=set)  # paths of files whose download breaks in the middle
    fetched: list[str] = field(default_factory=list)
    asked: int = 0
    url: str = ""

    def answer(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for one request, as the hub's own API would have them."""
        self.asked += 1
        path = path.partition("?")[0].strip("/")
        if path.startswith("api/models/"):
            return self._answer_api(path.removeprefix("api/models/"))
        repo, _, rest = path.partition("/resolve/")
        name = rest.partition("/")[2]
        if repo not in self.repositories:
            return 404, {}, b"{}"
        if repo in self.gated:
            return 401, {"X-Error-Code": "GatedRepo"}, b"{}"
        if name in self.fail_with:
            return self.fail_with[name], {}, b"{}"
        if name not in self.repositories[repo]:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        body = self.repositories[repo][name]
        if method == "GET":
            self.fetched.append(f"{repo}/{name}")
        return 200, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT}, body

    def _answer_api(self, path: str) -> tuple[int, dict[str, str], bytes]:
        repo = "/".join(path.split("/")[:2])
        if repo not in self.repositories:
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if repo in self.fail_with:
            return self.fail_with[repo], {}, b"{}"
        files = self.repositories[repo]
        if "/tree/" in path:
            entries = [{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in files.items()]
            return 200, {}, json.dumps(entries).encode()
        about = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        return 200, {}, json.dumps(about).encode()


def handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """The HTTP side of a hub."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            status, headers, body = hub.answer(self.command, self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                cut = self.path.rpartition("/")[2] in hub.cut_off
                self.wfile.write(body[: len(body) // 2] if cut else body)
                self.close_connection = cut

        do_GET = do_HEAD = _reply

        def log_message(self, *_: object) -> None:
            """Says nothing: the tests look at the hub's lists."""

    return Handler


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub at `hub.url` while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(hub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()
