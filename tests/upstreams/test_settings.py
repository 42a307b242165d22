"""`[[upstreams]]`: what is taken, what stops the start, and that no key is ever shown."""

from __future__ import annotations

from typing import Any

import pytest

from freehold.errors import Misconfigured
from freehold.upstreams.settings import UpstreamsSettings, entries


def test_an_entry_is_taken_with_its_defaults_and_hides_its_keys() -> None:
    given = {"name": "claude", "url": "claude", "keys": ["sk-1"], "key_env": "MORE", "stall_s": 60}
    (entry,) = entries(UpstreamsSettings([given]), {"MORE": "sk-2"})
    assert (entry.keys, entry.network.stall_s, entry.network.silence_s) == (("sk-1", "sk-2"), 60.0, 600.0)
    assert "sk-" not in repr(entry)


@pytest.mark.parametrize(
    "given",
    [
        7,
        {},
        {"name": "a"},
        {"name": "a/b", "url": "x"},
        {"name": "a", "url": "x", "colour": "red"},
        {"name": "a", "url": "x", "keys": "sk-secret"},
        {"name": "a", "url": "x", "keys": ["sk-secret", 3]},
        {"name": "a", "url": "x", "key_env": "MISSING"},
        {"name": "a", "url": "x", "stall_s": 0},
        {"name": "a", "url": "x", "aliases": {"b": 3}},
        {"name": "a", "url": "x", "region": "eu-west-1"},
        {"name": "a", "url": "bedrock", "colour": "red"},
    ],
)
def test_an_entry_that_cannot_be_meant_stops_the_start_and_shows_no_key(given: Any) -> None:
    with pytest.raises(Misconfigured, match=r"upstreams\.0") as caught:
        entries(UpstreamsSettings([given]), {})
    assert "sk-secret" not in str(caught.value)


def test_two_of_the_same_name_stop_the_start() -> None:
    with pytest.raises(Misconfigured, match="same name"):
        entries(UpstreamsSettings([{"name": "a", "url": "x"}] * 2), {})
