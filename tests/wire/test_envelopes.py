"""Error envelopes in both directions, and the top level of a request."""

from __future__ import annotations

import inspect
import json

import pytest
from anthropic import _exceptions as sdk

from freehold import errors
from freehold.errors import FreeholdError, InvalidRequest, Overloaded, RateLimited, UpstreamFailed
from freehold.wire import envelopes
from freehold.wire.envelopes import error_body, error_from, error_of, parse_fields, replace_fields
from tests.contract.manifest import shows_difference


def test_an_error_goes_out_in_the_envelope() -> None:
    assert json.loads(error_body(RateLimited("slow down"), "req_1")) == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "slow down"},
        "request_id": "req_1",
    }


def test_details_stand_in_the_envelope_only_if_there_are_any() -> None:
    body = error_body(InvalidRequest("archived", details={"error_code": "environment_archived"}), "req_1")
    assert json.loads(body)["error"]["details"] == {"error_code": "environment_archived"}


@pytest.mark.parametrize("status", [*envelopes.TYPE_BY_STATUS, 418, 520])
def test_an_error_comes_back_from_its_envelope_as_it_went_out(status: int) -> None:
    kind = envelopes.type_of(status)
    body = json.dumps({"type": "error", "error": {"type": kind, "message": "m", "details": {"a": 1}}})
    error = error_of(status, body.encode())
    assert (error.status, error.type, error.message, error.details) == (status, kind, "m", {"a": 1})
    again = error_of(status, error_body(error, "req_1"))
    assert (type(again), again.message, again.details) == (type(error), error.message, error.details)


def test_an_error_is_caught_by_the_class_of_its_status() -> None:
    assert isinstance(error_of(429, b'{"error":{"type":"strange_error","message":"m"}}'), RateLimited)
    assert type(error_of(529, b'{"error":{"type":"overloaded_error","message":"m"}}')) is Overloaded
    assert isinstance(error_of(451, b""), InvalidRequest)
    assert not isinstance(error_of(520, b""), InvalidRequest)


def test_any_body_gives_an_error_with_a_message() -> None:
    assert error_of(502, b"<html>Bad Gateway</html>").message == "<html>Bad Gateway</html>"
    assert error_of(404, b'{"error":"model not found"}').message == "model not found"
    assert error_of(500, b"").message == "The answer was HTTP 500 without a body."
    assert error_of(500, b'{"error":{"type":7,"message":null}}').type == "api_error"
    assert len(error_of(500, "é".encode() * 10_000).message) <= 500
    assert error_of(502, b"").status == 502 and isinstance(error_of(502, b""), UpstreamFailed)


def test_an_error_event_gets_the_status_of_its_type() -> None:
    error = error_from({"type": "overloaded_error", "message": "Overloaded"})
    assert isinstance(error, Overloaded) and error.message == "Overloaded"
    assert error_from(None).status == 500


def test_the_tables_agree_with_our_own_errors() -> None:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, FreeholdError):
            assert envelopes.type_of(kind.status) == kind.type, kind
            assert kind.status in envelopes.TYPE_BY_STATUS


def test_the_tables_agree_with_the_exceptions_of_the_sdk() -> None:
    by_sdk = {kind.status_code for _, kind in inspect.getmembers(sdk, inspect.isclass) if hasattr(kind, "status_code")}
    statuses = {status for status in by_sdk if isinstance(status, int)}
    assert statuses and statuses <= envelopes.TYPE_BY_STATUS.keys()


def test_every_type_leads_to_a_status_and_back() -> None:
    for kind, status in envelopes.STATUS_BY_TYPE.items():
        assert kind.startswith("memory_") or envelopes.TYPE_BY_STATUS[status] == kind


@shows_difference("members-at-the-top")
@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not valid JSON: Input data was truncated"),
        (b'{"a":}', "not valid JSON: invalid character at byte 5"),
        (b'{"a":1} x', "trailing characters at byte 8"),
        (b'{"a":NaN}', "at byte 5"),
        (b'{"a":01}', "at byte 6"),
        (b'{"a":"\xff"}', "not UTF-8: invalid byte at offset 6"),
        (b'{"a":"\\ud800"}', "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nested too deeply"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(1001)) + b"}", "more than 1000 members"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(10**5)) + b"}", "more than 1000 members"),
        (b"{" + b",".join(b'"same":1' for i in range(10**5)) + b"}", "more than 1000 members"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused_with_the_reason(body: bytes, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        parse_fields(body)


def test_large_bodies_are_read_like_small_ones() -> None:
    text = "x" * 20_000
    body = json.dumps({"model": "m", "system": text, "a": [1]}).encode()
    assert parse_fields(body) == {"model": b'"m"', "system": f'"{text}"'.encode(), "a": b"[1]"}
    assert all(type(name) is str for name in parse_fields(body))


def test_a_body_that_is_large_and_no_object_is_refused_as_such() -> None:
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        parse_fields(b"[" + b"1," * 20_000 + b"1]")


def test_numbers_keep_their_spelling() -> None:
    assert parse_fields(b'{"a":1.0,"b":1e400,"c":123456789012345678901234567890}') == {
        "a": b"1.0",
        "b": b"1e400",
        "c": b"123456789012345678901234567890",
    }


def test_of_a_member_that_is_there_twice_the_last_counts_and_a_change_leaves_no_other() -> None:
    body = b'{"a":12, "b":[1,{"c":"]}"}] ,"a":1,"d":0}'
    fields = parse_fields(body)
    assert fields["a"] == b"1"
    assert replace_fields(body, fields, {"a": b"7"}) == b'{"b":[1,{"c":"]}"}] ,"a":7,"d":0}'
    assert replace_fields(body, fields, {"a": None}) == b'{"b":[1,{"c":"]}"}],"d":0}'
    assert replace_fields(body, fields, {"b": None}) == b'{"a":12 ,"a":1,"d":0}'


def test_a_name_that_is_spelled_with_escapes_is_the_same_name() -> None:
    body = b'{"mod\\u0065l":"x"}'
    assert parse_fields(body) == {"model": b'"x"'}
    assert replace_fields(body, parse_fields(body), {"model": b'"y"'}) == b'{"mod\\u0065l":"y"}'


def test_new_members_are_added_at_the_end() -> None:
    assert replace_fields(b' { "a" : 1 } ', {"a": b"1"}, {"b": b"2"}) == b' { "a" : 1,"b":2 } '
    assert replace_fields(b"{ }", {}, {"b": b"2", "c": b"3"}) == b'{"b":2,"c":3 }'
    assert replace_fields(b'{"a":1}', {"a": b"1"}, {"a": None, "b": b"2"}) == b'{"b":2}'
    assert replace_fields(b'{"a":1}', {"a": b"1"}, {"a": None}) == b"{}"
