"""A request's top level is read and changed without touching any other byte."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from freehold.wire.envelopes import parse_fields, replace_fields
from tests.properties.messages import json_values, texts

spaces = st.text(" \t\n\r", max_size=2)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """JSON objects spelled in odd ways, and what they mean."""
    meant = draw(st.dictionaries(texts, json_values, max_size=5))
    members = [
        draw(spaces)
        + json.dumps(name, ensure_ascii=draw(st.booleans()))
        + draw(spaces)
        + ":"
        + draw(spaces)
        + json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 1])))
        + draw(spaces)
        for name, value in meant.items()
    ]
    return (draw(spaces) + "{" + (",".join(members) or draw(spaces)) + "}" + draw(spaces)).encode(), meant


@given(bodies())
def test_members_are_read_as_they_stand(body: tuple[bytes, dict[str, Any]]) -> None:
    raw, meant = body
    assert {name: json.loads(value) for name, value in parse_fields(raw).items()} == meant


@given(bodies())
def test_putting_back_what_was_there_changes_no_byte(body: tuple[bytes, dict[str, Any]]) -> None:
    raw, _ = body
    fields = parse_fields(raw)
    assert replace_fields(raw, fields, {}) == raw
    assert replace_fields(raw, fields, fields) == raw
    assert replace_fields(raw, {}, fields) == raw  # also without knowing where the values end
    assert replace_fields(raw, fields, {"not there": None} if "not there" not in fields else {}) == raw


@given(bodies(), st.data())
def test_a_change_changes_its_member_and_nothing_else(body: tuple[bytes, dict[str, Any]], data: st.DataObject) -> None:
    raw, meant = body
    names = st.sampled_from(sorted(meant)) | texts if meant else texts
    changes = data.draw(st.dictionaries(names, st.none() | json_values.map(json.dumps).map(str.encode), max_size=3))
    fields = parse_fields(raw)
    changed = replace_fields(raw, fields, changes)
    expected = {name: value for name, value in meant.items() if changes.get(name, b"") is not None}
    expected |= {name: json.loads(value) for name, value in changes.items() if value is not None}
    assert json.loads(changed) == expected
    assert list(json.loads(changed)) == list(expected)
    at = 0
    for name in meant:
        if name not in changes:
            at = changed.index(fields[name], at)  # spelled as before, in the order of before
