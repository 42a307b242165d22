"""Pages of lists and the cursors between them."""

from __future__ import annotations

import base64

import pytest

from freehold.errors import InvalidRequest
from freehold.wire.pages import cursor_page, decode_cursor, encode_cursor, id_page, two_way_page

PLACE = {"at_us": 5, "id": "agent_1"}
TYPES = {"at_us": int, "id": str}


def test_the_three_forms_have_all_their_keys_also_at_the_end() -> None:
    rows = [{"id": "a"}, {"id": "b"}]
    assert id_page(rows, True) == {"data": rows, "has_more": True, "first_id": "a", "last_id": "b"}
    assert id_page([], False) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert cursor_page(rows, None) == {"data": rows, "next_page": None}
    assert two_way_page(rows, None, "page_x") == {"data": rows, "prev_page": None, "next_page": "page_x"}


def test_a_cursor_gives_back_what_it_was_given() -> None:
    cursor = encode_cursor({**PLACE, "order": "desc", "names": ["ä", None]})
    assert cursor.startswith("page_") and cursor.isascii() and "=" not in cursor
    found = decode_cursor(cursor, {"order": "desc", "names": ["ä", None]}, TYPES)
    assert found == {**PLACE, "order": "desc", "names": ["ä", None]}


@pytest.mark.parametrize("expected", [{"order": "asc"}, {"order": "desc", "agent_id": "agent_1"}, {"order": None}])
def test_a_cursor_is_good_only_under_the_same_order_and_filters(expected: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=r"another (order|agent_id)"):
        decode_cursor(encode_cursor({**PLACE, "order": "desc"}), expected)


def forged(payload: bytes) -> str:
    return "page_" + base64.urlsafe_b64encode(b"123456" + payload).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "page_",
        "page_!!!",
        "agent_1",
        "page_" + "A" * 5000,
        "page_é",
        encode_cursor(PLACE)[:-1],
        encode_cursor(PLACE)[:-2] + "AA",
        encode_cursor(PLACE).removeprefix("page_"),
        forged(b'{"at_us":5}'),
        forged(b"[" * 1000),
    ],
)
def test_anything_foreign_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="not a cursor"):
        decode_cursor(text, {})


@pytest.mark.parametrize(
    "position",
    [
        {"at_us": "5", "id": "agent_1"},
        {"at_us": True, "id": "agent_1"},
        {"at_us": 5},
        {**PLACE, "more": 1},
        {"at_us": 5, "id": None},
    ],
)
def test_a_cursor_of_another_list_is_refused_before_it_reaches_a_query(position: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match="not a cursor"):
        decode_cursor(encode_cursor(position), {}, TYPES)
