"""Clouds on this machine: they check what a cloud checks (signatures, tokens, paths) and answer in its framing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import urllib.parse
import zlib
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.scripted_upstream import Line, Request

ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def signature_of(request: Request, region: str) -> str:
    """The SigV4 signature that this request should bear, by AWS's own description of it, from the secret key."""
    given = request.header("authorization") or ""
    scope = given.partition("Credential=")[2].partition(",")[0].partition("/")[2]
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    method, target, _ = request.line.split(" ")
    path, _, query = target.partition("?")
    headers = {name.lower(): " ".join(value.split()) for name, value in request.headers}
    canonical = "\n".join(
        [
            method,
            urllib.parse.quote(path, safe="/~"),  # each segment is encoded twice, for every service but S3
            query,
            *(f"{name}:{headers[name]}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(request.body).hexdigest(),
        ]
    )
    date = scope.partition("/")[0]
    assert scope == f"{date}/{region}/bedrock/aws4_request"
    assert {"host", "x-amz-date"} <= set(names)
    to_sign = "\n".join(
        ["AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()]
    )
    key = b"AWS4" + SECRET_KEY.encode()
    for part in (date, region, "bedrock", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()


def is_signed(request: Request, region: str) -> bool:
    """Whether it bears that signature."""
    given = request.header("authorization") or ""
    return f"Credential={ACCESS_KEY}/" in given and given.endswith("Signature=" + signature_of(request, region))


def event_stream_message(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of `application/vnd.amazon.eventstream`: lengths, CRCs, headers of type string, payload."""
    block = b""
    for name, value in headers.items():
        block += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    prelude += struct.pack(">I", zlib.crc32(prelude))
    message = prelude + block + payload
    return message + struct.pack(">I", zlib.crc32(message))


def event_chunk(event: bytes) -> bytes:
    """One event of Claude's as Bedrock sends it."""
    data = event.partition(b"data: ")[2].strip()
    payload = json.dumps({"bytes": base64.b64encode(data).decode(), "p": "abcd"}).encode()
    kinds = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return event_stream_message(kinds, payload)


def event_exception(kind: str, message: str) -> bytes:
    """An exception in the middle of a stream."""
    kinds = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return event_stream_message(kinds, json.dumps({"message": message}).encode())


class Google:
    """A service account and the endpoint that gives tokens for it. `given` are the tokens."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self.given: list[str] = []

    def account(self, folder: Path, token_url: str) -> Path:
        """Its file."""
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = folder / "account.json"
        account = {
            "type": "service_account",
            "project_id": "a-project",
            "private_key_id": "1",
            "private_key": private.decode(),
            "client_email": "freehold@a-project.example",
            "token_uri": token_url,
        }
        file.write_text(json.dumps(account))
        return file

    async def token(self, request: Request, line: Line) -> None:
        """Give a token for a signed assertion (RFC 7523)."""
        form = urllib.parse.parse_qs(request.body.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        head, claims, signature = form["assertion"][0].split(".")
        public, signed = self._key.public_key(), f"{head}.{claims}".encode()
        public.verify(_bytes(signature), signed, padding.PKCS1v15(), hashes.SHA256())
        assert json.loads(_bytes(claims))["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        self.given.append(f"token-{len(self.given)}")
        answer = {"access_token": self.given[-1], "expires_in": 3600, "token_type": "Bearer"}
        await line.answer(200, json.dumps(answer).encode())


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
