"""A git server for tests: real repositories over smart HTTP, behind a password, as `git.test` on loopback."""

from __future__ import annotations

import base64
import contextlib
import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HOST = "git.test"


@dataclass
class GitServer:
    """`token`: the password of `x-access-token`; empty lets everybody in. `asked`: paths, and who was let in."""

    root: Path
    port: int = 0
    token: str = ""
    asked: list[tuple[str, bool]] = field(default_factory=list)
    watch: Callable[[], None] = lambda: None
    """Called while somebody waits for an answer."""

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    def git(self, *arguments: str, within: str = "work") -> str:
        """Run git in one of the folders, as somebody."""
        who = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
        command = ["git", *who, "-C", str(self.root / within), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, name: str, content: str) -> str:
        """A commit of one file on the branch that is checked out; its SHA."""
        (self.root / "work" / name).write_text(content)
        self.git("add", name)
        self.git("commit", "-qm", name)
        return self.git("rev-parse", "HEAD")

    def publish(self) -> None:
        """Push every branch to where it is served, as `owner/name.git`."""
        self.git("push", "-q", "--all", str(self.root / "served" / "owner" / "name.git"))


@contextlib.contextmanager
def git_server(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    """Serve it for the time of the block."""
    server = GitServer(root)
    (root / "work").mkdir(parents=True)
    (root / "served/owner/name.git").mkdir(parents=True)
    server.git("init", "-q")
    server.git("init", "-q", "--bare", within="served/owner/name.git")
    server.git("config", "uploadpack.allowAnySHA1InWant", "true", within="served/owner/name.git")
    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.port = listening.server_address[1]
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.1" if host == HOST else host, *a, **k)
    )
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def _handler(server: GitServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Nothing is printed."""

        def do_GET(self) -> None:
            self._serve(b"")

        def do_POST(self) -> None:
            self._serve(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _serve(self, body: bytes) -> None:
            wanted = "Basic " + base64.b64encode(f"x-access-token:{server.token}".encode()).decode()
            fine = not server.token or self.headers.get("Authorization") == wanted
            server.asked.append((self.path, fine))
            server.watch()
            if not fine:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            head, _, content = self._backend(body).partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def _backend(self, body: bytes) -> bytes:
            path, _, query = self.path.partition("?")
            variables = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(server.root / "served"),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": "safe.directory",
                "GIT_CONFIG_VALUE_0": "*",
            }
            return subprocess.run(
                ["git", "http-backend"], input=body, capture_output=True, env=variables, check=True
            ).stdout

    return Handler
