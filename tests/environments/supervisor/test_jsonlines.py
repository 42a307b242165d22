"""The lean JSON against the one of the standard library."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.environments.supervisor import jsonlines

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_is_encoded_is_one_line_that_json_reads(value: Any) -> None:
    line = jsonlines.encode(value)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == value


@given(VALUES, st.booleans())
def test_what_json_writes_is_decoded(value: Any, ascii_only: bool) -> None:
    if ascii_only:
        assert jsonlines.decode(json.dumps(value).encode()) == value
    else:
        text = json.dumps(value, ensure_ascii=False)
        assert jsonlines.decode(text.encode("utf-8", "surrogatepass")) == value


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="no JSON form"):
        jsonlines.encode({"x": object()})
