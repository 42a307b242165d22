"""Query parameters: kinds, bounds, windows and their cursors."""

from __future__ import annotations

import pytest

from freehold.api.queries import Query, Range
from freehold.errors import InvalidRequest
from freehold.wire.pages import encode_cursor
from tests.contract.manifest import shows_difference


def refused(error: pytest.ExceptionInfo[InvalidRequest], *words: str) -> None:
    for word in words:
        assert word in error.value.message


def test_a_limit_has_a_default_and_a_most() -> None:
    assert Query(b"").window("x").limit == 20
    assert Query(b"limit=100").window("x").limit == 100
    for raw in (
        b"limit=0",
        b"limit=101",
        b"limit=-1",
        b"limit=x",
        b"limit=",
        b"limit=1e1",
        b"limit=%D9%A3",
        b"limit=1&limit=2",
    ):
        with pytest.raises(InvalidRequest) as error:
            Query(raw).window("x")
        refused(error, "limit")


def test_times_take_any_offset_and_refuse_what_has_none() -> None:
    raw = b"created_at[gte]=2026-01-01T02%3A00%3A00%2B02%3A00&created_at%5Blt%5D=2026-01-01T00:00:01.5Z"
    assert Query(raw).times("created_at") == Range(gte=1_767_225_600_000_000, lt=1_767_225_601_500_000)
    assert Query(b"created_at[gt]=2026-01-01T02:00:00+02:00").times("created_at").gt == 1_767_225_600_000_000
    for value in (b"2026-01-01T00:00:00", b"yesterday", b""):
        with pytest.raises(InvalidRequest) as error:
            Query(b"created_at[gte]=" + value).times("created_at")
        refused(error, "created_at[gte]", "RFC 3339")


def test_arrays_come_with_brackets_or_without() -> None:
    assert Query(b"types[]=a&types[]=b&types=c").texts("types", most=3) == ["a", "b", "c"]
    with pytest.raises(InvalidRequest) as error:
        Query(b"types[]=a&types[]=b").texts("types", most=1)
    refused(error, "types[]", "at most 1")


@shows_difference("unknown-query-parameters")
def test_a_list_refuses_a_misspelt_filter_by_name_and_names_the_known_ones() -> None:
    query = Query(b"include_archivd=true&beta=true")
    query.boolean("include_archived")
    with pytest.raises(InvalidRequest) as error:
        query.window("agents")
    refused(error, "include_archivd", "include_archived", "limit")


def test_beta_is_always_ignored() -> None:
    assert Query(b"beta=true").window("agents").after is None


@pytest.mark.parametrize("raw", [b"archived=maybe", b"archived=", b"archived=TRUE"])
def test_a_boolean_is_true_or_false(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as error:
        Query(raw).boolean("archived")
    refused(error, "archived", "true, false")


def test_a_cursor_goes_on_where_it_was_made_and_only_in_the_same_list() -> None:
    cursor = Query(b"limit=2").window("agents", {"archived": False}).cursor((17, "agent_1"))
    again = Query(f"page={cursor}".encode())
    assert again.window("agents", {"archived": False}).after == [17, "agent_1"]
    for name, filters in (("agents", {"archived": True}), ("environments", {"archived": False}), ("agents", {})):
        with pytest.raises(InvalidRequest) as error:
            Query(f"page={cursor}".encode()).window(name, filters)
        refused(error, "page")


def test_a_foreign_or_forged_cursor_is_refused() -> None:
    made = Query(b"").window("agents").cursor((17, "agent_1"))
    bound = {"list": "agents", "filter": Query(b"").window("agents")._bound["filter"]}
    forged = [
        encode_cursor({**bound, "at": at})
        for at in (["17", "agent_1"], [17], [True, "agent_1"], [1 << 63, "x"], [1, "\0"], {"a": 1}, None)
    ]
    for page in ("x", "page_", "page_AAAA", made[:-2], made + "A", *forged):
        with pytest.raises(InvalidRequest):
            Query(f"page={page}".encode()).window("agents")


def test_a_page_shows_at_most_limit_rows_and_tells_of_the_next() -> None:
    window = Query(b"limit=2").window("x")
    full = window.page([1, 2, 3], lambda row: {"n": row}, lambda row: (row, str(row)))
    assert full["data"] == [{"n": 1}, {"n": 2}]
    assert Query(f"page={full['next_page']}".encode()).window("x").after == [2, "2"]
    assert window.page([1, 2], lambda row: {"n": row}, lambda row: (row, "")) == {
        "data": [{"n": 1}, {"n": 2}],
        "next_page": None,
    }


def test_a_flood_of_parameters_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        Query(b"&".join(b"ids[]=1" for _ in range(2000)))
    with pytest.raises(InvalidRequest):
        Query(b"limit=%ff\xff")
