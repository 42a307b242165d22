"""Finding a running server, and telling what it answers, also when it is no Freehold at all."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from freehold.cli.calling import NoServer, Refused, Server, find_server

ANSWERS: dict[str, tuple[int, bytes]] = {
    "/page": (200, b"<html>hello</html>"),
    "/list": (200, b"[1]"),
    "/no": (403, b'{"type":"error","error":{"type":"permission_error","message":"This key may not do that."}}'),
    "/proxy": (502, b"<html>bad gateway</html>"),
    "/many": (200, b'{"data":[{"id":"a"}],"next_page":"p 2"}'),
    "/%C3%A4%20b": (200, b'{"path":"/%C3%A4%20b"}'),
    "/many?page=p+2": (200, b'{"data":[{"id":"b"}],"next_page":null}'),
}


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = ANSWERS[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def somewhere() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


def test_what_is_no_freehold_server_is_told_as_that(somewhere: str) -> None:
    with pytest.raises(Refused, match="is this a Freehold server"):
        Server(somewhere, "k").get("/page")
    with pytest.raises(Refused, match="is this a Freehold server"):
        Server(somewhere, "k").get("/list")


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "does not answer: SSH-2.0-OpenSSH"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "broke off in its answer"),
        (b"", "does not answer: Remote end closed connection"),
    ],
)
def test_what_breaks_off_or_speaks_something_else_is_told_as_that(sent: bytes, told: str) -> None:
    def once() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(sent)

    ways: list[Callable[[Server], object]] = [
        lambda server: server.get("/x"),
        lambda server: server.exchange("/x", b"{}", {}),
    ]
    for ask in ways:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=once)
            thread.start()
            with pytest.raises(NoServer, match=told):
                ask(Server(f"http://127.0.0.1:{listening.getsockname()[1]}", "k"))
            thread.join()


def test_an_odd_id_reaches_the_server_as_it_is(somewhere: str) -> None:
    assert Server(somewhere, "k").get("/ä b")["path"] == "/%C3%A4%20b"


def test_an_error_is_told_in_the_server_s_words(somewhere: str) -> None:
    with pytest.raises(Refused, match=r"answered 403: This key may not do that\."):
        Server(somewhere, "k").get("/no")
    with pytest.raises(Refused, match="answered 502: Bad Gateway"):
        Server(somewhere, "k").get("/proxy")


def test_every_page_of_a_list_is_read(somewhere: str) -> None:
    assert Server(somewhere, "k").pages("/many") == [{"id": "a"}, {"id": "b"}]


def test_nobody_listening_is_told_with_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoServer, match=r"http://127\.0\.0\.1:9 does not answer"):
        Server("http://127.0.0.1:9", "k").get("/x")


def test_address_and_key_come_from_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FREEHOLD_URL", "FREEHOLD_KEY", "FREEHOLD_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(NoServer, match="no server runs on the data folder"):
        find_server(tmp_path, None, None)
    (tmp_path / "server.json").write_text(json.dumps({"address": "http://127.0.0.1:1", "pid": 1}), "utf-8")
    with pytest.raises(NoServer, match="Set FREEHOLD_KEY or give --key-file"):
        find_server(tmp_path, None, None)
    (tmp_path / "admin-key").write_text("sk-fh-one\n", "utf-8")
    assert find_server(tmp_path, None, None) == Server("http://127.0.0.1:1", "sk-fh-one")
    monkeypatch.setenv("FREEHOLD_KEY", "sk-fh-two")
    assert find_server(tmp_path, "http://other", None) == Server("http://other", "sk-fh-two")
    (tmp_path / "third").write_text("sk-fh-three", "utf-8")
    assert find_server(tmp_path, None, tmp_path / "third").key == "sk-fh-three"
