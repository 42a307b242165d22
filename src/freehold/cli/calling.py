"""Speaks to a running server: finds its address and key, sends one request, tells errors in the server's own words."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode, urlsplit

from freehold.errors import FreeholdError

_TIMEOUT_S = 30
_LARGEST_ANSWER_BYTES = 64 << 20
_COPY_BYTES = 1 << 20
_LONG_S = 3600
"""For what the server works on before it answers: an import."""


class NoServer(FreeholdError):
    """No running server was found."""


class Refused(FreeholdError):
    """The server did not do it; the message is the server's own."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server answers, and the key to use there."""

    url: str
    key: str

    def get(self, path: str, query: Mapping[str, str] | Sequence[tuple[str, str]] | None = None) -> dict[str, Any]:
        """GET as JSON.

        Raises:
            NoServer: nothing answers there.
            Refused: it answered with an error.
        """
        return self._send("GET", f"{path}?{urlencode(query)}" if query else path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST as JSON; raises as `get` does."""
        return self._send("POST", path, json.dumps(body).encode())

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE; raises as `get` does."""
        return self._send("DELETE", path, None)

    def exchange(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """POST these very bytes: status, headers (names in lower case) and body of whatever comes back, errors too.

        Raises:
            NoServer: nothing answers there, or it breaks off.
        """
        all_headers = {**headers, "authorization": f"Bearer {self.key}", "content-type": "application/json"}
        request = urllib.request.Request(self.url.rstrip("/") + path, data=body, headers=all_headers, method="POST")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_LONG_S) as answer:
                return answer.status, _lower(answer.headers), answer.read(_LARGEST_ANSWER_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lower(error.headers), error.read(_LARGEST_ANSWER_BYTES)
        except OSError as error:
            raise NoServer(f"{self.url} does not answer: {getattr(error, 'reason', error)}") from error

    def lines(self, path: str, body: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """POST, and each line of JSON of the answer as it comes; raises as `get` does."""
        with self._open("POST", path, json.dumps(body or {}).encode(), timeout_s=_LONG_S) as answer:
            for line in answer:
                yield _object(line)

    def download(self, path: str, file: Path) -> int:
        """GET into a new file; gives its size. What comes incomplete leaves no file. Raises as `get`, and `Refused`
        where the file cannot be written."""
        try:
            with self._open("GET", path, None) as answer, _fresh(file) as out:
                shutil.copyfileobj(answer, out, _COPY_BYTES)
                expected, size = answer.headers["content-length"], out.tell()
                if expected is not None and size != int(expected):
                    raise Refused(f"the answer broke off after {size:,} of {int(expected):,} bytes; nothing was kept")
                return size
        except OSError as error:
            raise Refused(f"{file} cannot be written: {error.strerror or error}") from error

    def upload(self, path: str, file: Path) -> dict[str, Any]:
        """POST a file as it is; raises as `get` does."""
        with file.open("rb") as source, self._open("POST", path, source, length=file.stat().st_size) as answer:
            return _object(answer.read(_LARGEST_ANSWER_BYTES))

    def form(self, path: str, fields: Mapping[str, str], file: tuple[str, str, bytes]) -> dict[str, Any]:
        """POST a form with a file (its field, its name, its bytes) as a browser does; raises as `get` does."""
        boundary = secrets.token_hex(16)
        field, name, data = file
        quoted = name.replace("\\", "_").replace('"', "_").replace("\r", "_").replace("\n", "_")
        parts = [f'form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items()]
        head = f'form-data; name="{field}"; filename="{quoted}"\r\ncontent-type: application/octet-stream\r\n\r\n'
        parts.append(head.encode("utf-8", "surrogateescape") + data + b"\r\n")
        mark = f"--{boundary}\r\ncontent-disposition: ".encode()
        body = b"".join(mark + part for part in parts) + f"--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        with self._open("POST", path, body, timeout_s=_LONG_S, kind=kind) as answer:
            return _object(answer.read(_LARGEST_ANSWER_BYTES))

    def pages(
        self, path: str, query: Mapping[str, str] | None = None, *, most: int | None = None
    ) -> list[dict[str, Any]]:
        """Every entry of a list, page after page; the first `most` of them where that is given."""
        entries: list[dict[str, Any]] = []
        page = self.get(path, query)
        entries += page["data"]
        while page.get("next_page") and (most is None or len(entries) < most):
            page = self.get(path, {**(query or {}), "page": page["next_page"]})
            entries += page["data"]
        return entries[:most]

    def _send(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        with self._open(method, path, body) as answer:
            return _object(answer.read(_LARGEST_ANSWER_BYTES))

    @contextlib.contextmanager
    def _open(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None,
        *,
        length: int = 0,
        timeout_s: float = _TIMEOUT_S,
        kind: str | None = None,
    ) -> Iterator[Any]:
        kind = kind or ("application/json" if body is None or isinstance(body, bytes) else "application/x-tar")
        headers = {"authorization": f"Bearer {self.key}", "content-type": kind}
        if length:
            headers["content-length"] = str(length)
        request = urllib.request.Request(self.url.rstrip("/") + path, data=body, headers=headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # our own server is not behind a proxy
        try:
            answer = opener.open(request, timeout=timeout_s if not length else _LONG_S)
        except urllib.error.HTTPError as error:
            raise Refused(_told(error)) from error
        except OSError as error:
            raise NoServer(f"{self.url} does not answer: {getattr(error, 'reason', error)}") from error
        with answer:
            yield answer


def find_server(data: Path, url: str | None, key_file: Path | None) -> Server:
    """The server of that data folder, unless `url` (or `FREEHOLD_URL`) names another.

    The key comes from `key_file`, from `FREEHOLD_KEY`, or is the admin key that the first start left in the folder. It
    is no option of the command line, where every user of the machine could read it.

    Raises:
        NoServer: there is no address, or no key.
    """
    return Server(url or os.environ.get("FREEHOLD_URL") or _noted(data), _key(data, key_file))


def _noted(data: Path) -> str:
    try:
        address = json.loads((data / "server.json").read_text("utf-8"))["address"]
    except (OSError, ValueError, KeyError) as error:
        raise NoServer(
            f"no server runs on the data folder {data}. Start one with `freehold serve`, or name it by --url or --data."
        ) from error
    return str(address)


def _key(data: Path, key_file: Path | None) -> str:
    if key_file is None and (given := os.environ.get("FREEHOLD_KEY") or os.environ.get("FREEHOLD_ADMIN_KEY")):
        return given
    path = key_file or data / "admin-key"
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NoServer(f"no key: {path} cannot be read ({error}). Set FREEHOLD_KEY or give --key-file.") from error


@contextlib.contextmanager
def _fresh(file: Path) -> Iterator[IO[bytes]]:
    """A new file that is taken away again if something goes wrong."""
    with file.open("xb") as out:
        try:
            yield out
        except BaseException:
            file.unlink(missing_ok=True)
            raise


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError as error:
        raise Refused("the answer is not JSON; is this a Freehold server?") from error
    if not isinstance(value, dict):
        raise Refused("the answer is no JSON object; is this a Freehold server?")
    return value


def _told(error: urllib.error.HTTPError) -> str:
    try:
        message = json.loads(error.read(1 << 20))["error"]["message"]
    except (OSError, ValueError, KeyError, TypeError):
        message = error.reason
    host = urlsplit(error.url or "").netloc
    return f"{host} answered {error.code}: {message}"
