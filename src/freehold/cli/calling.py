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
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

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
        with self._unbroken():
            try:
                answer = self._sent("POST", path, body, {**headers, "content-type": "application/json"}, _LONG_S)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                return answer.status, _lower(answer.headers), _whole(answer)

    def lines(self, path: str, body: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """POST, and each line of JSON of the answer as it comes; raises as `get` does."""
        with self.open("POST", path, json.dumps(body or {}).encode(), timeout_s=_LONG_S) as answer:
            yield from lines_of(answer)

    def download(self, path: str, file: Path) -> int:
        """GET into a new file; gives its size. What comes incomplete leaves no file. Raises as `get`, and `Refused`
        where the file cannot be written."""
        try:
            with self.open("GET", path) as answer, _fresh(file) as out:
                shutil.copyfileobj(answer, out, _COPY_BYTES)
                expected, size = answer.headers["content-length"], out.tell()
                if expected is not None and size != int(expected):
                    raise Refused(f"the answer broke off after {size:,} of {int(expected):,} bytes; nothing was kept")
                return size
        except OSError as error:
            raise Refused(f"{file} cannot be written: {error.strerror or error}") from error

    def upload(self, path: str, file: Path) -> dict[str, Any]:
        """POST a tar as it is; raises as `get`, and `Refused` where the file cannot be read."""
        try:
            source = file.open("rb")
        except OSError as error:
            raise Refused(f"{file} cannot be read: {error.strerror or error}") from error
        with source, self.open("POST", path, source, timeout_s=_LONG_S, kind="application/x-tar") as answer:
            return _object(_whole(answer))

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
        with self.open("POST", path, body, timeout_s=_LONG_S, kind=kind) as answer:
            return _object(_whole(answer))

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

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        path: str,
        body: bytes | IO[bytes] | None = None,
        *,
        timeout_s: float = _TIMEOUT_S,
        kind: str = "application/json",
    ) -> Iterator[Any]:
        """An answer, to be read within the context; raises as `get` does, also where it breaks off."""
        headers = {"content-type": kind}
        if body is not None and not isinstance(body, bytes):
            headers["content-length"] = str(body.seek(0, os.SEEK_END))
            body.seek(0)
        try:
            answer = self._sent(method, path, body, headers, timeout_s)
        except urllib.error.HTTPError as error:
            raise Refused(_told(error)) from error
        with answer, self._unbroken():
            yield answer

    def _send(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        with self.open(method, path, body) as answer:
            return _object(_whole(answer))

    def _sent(
        self, method: str, path: str, body: bytes | IO[bytes] | None, headers: Mapping[str, str], timeout_s: float
    ) -> Any:
        """The answer, its body still to come. Raises `NoServer`, and urllib's `HTTPError` for an error's answer."""
        url = self.url.rstrip("/") + quote(path, safe="/?&=%+:,;@!$'()*~[]")
        given = {**headers, "authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(url, data=body, headers=given, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # our own server is not behind a proxy
        try:
            return opener.open(request, timeout=timeout_s)
        except urllib.error.HTTPError:
            raise
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise NoServer(f"{self.url} does not answer: {str(reason).strip() or type(reason).__name__}") from error

    @contextlib.contextmanager
    def _unbroken(self) -> Iterator[None]:
        """An answer that breaks off is told as that."""
        try:
            yield
        except (HTTPException, ConnectionError, TimeoutError) as error:
            raise NoServer(f"{self.url} broke off in its answer: {error}") from error


def find_server(data: Path, url: str | None, key_file: Path | None) -> Server:
    """The server of that data folder, unless `url` (or `FREEHOLD_URL`) names another.

    The key comes from `key_file`, from `FREEHOLD_KEY`, or is the admin key that the first start left in the folder. It
    is no option of the command line, where every user of the machine could read it.

    Raises:
        NoServer: there is no address, or no key.
    """
    address = url or os.environ.get("FREEHOLD_URL") or _noted(data)
    if urlsplit(address).scheme not in ("http", "https"):
        raise NoServer(f"{address!r} is no address of a server; one looks like http://127.0.0.1:8788.")
    key = _key(data, key_file)
    if not key.isascii() or not key.isprintable() or not key:
        raise NoServer("the key has characters that no key has, or none at all; is it the right file?")
    return Server(address, key)


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
    return read_key(key_file or data / "admin-key")


def read_key(file: Path) -> str:
    """The key that is in a file. Raises `NoServer`."""
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        told = getattr(error, "strerror", None) or error
        raise NoServer(f"no key: {file} cannot be read ({told}). Set FREEHOLD_KEY or give --key-file.") from error


@contextlib.contextmanager
def _fresh(file: Path) -> Iterator[IO[bytes]]:
    """A new file that is taken away again if something goes wrong."""
    with file.open("xb") as out:
        try:
            yield out
        except BaseException:
            file.unlink(missing_ok=True)
            raise


def lines_of(answer: Any) -> Iterator[dict[str, Any]]:
    """Each line of JSON of an answer, within its context. Raises `Refused`."""
    for line in answer:
        yield _object(line)
    _require_all(answer)


def _whole(answer: Any) -> bytes:
    body: bytes = answer.read(_LARGEST_ANSWER_BYTES)
    _require_all(answer)
    return body


def _require_all(answer: Any) -> None:
    """`http.client` does not tell where less came than was announced."""
    if missing := getattr(answer, "length", None):
        raise ConnectionError(f"{missing:,} bytes of it did not come")


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
