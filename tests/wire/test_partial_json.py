"""JSON that was cut off."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.wire import partial_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('{"a": "hel', {}),
        ('{"a": 12', {"a": 12}),
        ('{"a": 1.', {}),
        ('{"a": tr', {}),
        ('{"a', {}),
        ('{"a":', {}),
        ('{"a":1,', {"a": 1}),
        ('{"a":1,"b', {"a": 1}),
        ('{"a":[1,"x', {"a": [1]}),
        ('{"a":[1,{"b":"c"', {"a": [1, {"b": "c"}]}),
        ('{"a":"\\u00', {}),
        ('{"a":"]}", "b', {"a": "]}"}),
    ],
)
def test_what_is_only_half_there_is_left_out(text: str, value: Any) -> None:
    assert partial_json.read(text) == value


@pytest.mark.parametrize("text", ["", "  ", "tru", '"abc', "{]", '{"a":1}}', '{"a" 1', "{1:2}", '{"a":NaN}', "x{}"])
def test_what_is_no_beginning_of_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        partial_json.read(text)
