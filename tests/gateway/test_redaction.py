"""What of a call is never written down."""

from __future__ import annotations

import base64
import json
import os
import resource
import time

import pytest

from freehold.gateway.redaction import redacted, safe_headers

SECRETS = (
    "sk-ant-api03-" + "a1B2" * 10,
    "sk-fh-" + "x" * 43,
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "a" * 36,
    "xoxb-" + "1234567890-abcdef",
    "AIza" + "b" * 35,
    "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE/+abc=\n-----END RSA PRIVATE KEY-----",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_key_is_taken_out_and_the_json_stays_json(secret: str) -> None:
    text = json.dumps({"messages": [{"role": "user", "content": f"my key: {secret} and this"}]})
    body, removed = redacted(text.encode())
    assert removed == 1
    assert json.loads(body)["messages"][0]["content"] == "my key: [removed] and this"


def test_credentials_in_fields_are_taken_out_by_their_name() -> None:
    servers = [{"type": "url", "url": "https://x", "name": "x", "authorization_token": 'to"ken'}]
    body, removed = redacted(json.dumps({"mcp_servers": servers}).encode())
    assert (json.loads(body)["mcp_servers"][0]["authorization_token"], removed) == ("[removed]", 1)


def test_an_image_stays_as_it_is() -> None:
    image = base64.b64encode(os.urandom(3_000_000))
    assert redacted(image) == (image, 0)


@pytest.mark.parametrize(
    "text", [b"eyJ" * 700_000, b".eyJ" * 500_000, b"-----BEGIN PRIVATE KEY-----" * 70_000, b'"password":"' * 150_000]
)
def test_no_text_makes_it_slow(text: bytes) -> None:
    began = time.process_time()
    redacted(text)
    plain = time.process_time() - began
    began = time.process_time()
    redacted(text + text)
    assert time.process_time() - began < 10 * plain + 0.5


def test_only_harmless_headers_are_kept() -> None:
    headers = [(b"authorization", b"Bearer x"), (b"x-api-key", b"x"), (b"cookie", b"x"), (b"anthropic-beta", b"b-1")]
    assert safe_headers(headers) == [["anthropic-beta", "b-1"]]


def test_a_long_value_costs_no_memory_but_its_own_and_one_that_was_cut_off_is_taken_out_too() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    body = b'{"password":"' + b"a\\n" * (2 << 20)
    assert redacted(body + b'","x":1}') == (b'{"password":"[removed]","x":1}', 1)
    assert redacted(body) == (b'{"password":"[removed]"', 1)
    assert redacted(body + b"\\") == (b'{"password":"[removed]"', 1)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < 20 * len(body)
