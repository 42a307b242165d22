"""From the SDK's kinds of types to shapes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, Required

import pytest
from anthropic._types import Omit, SequenceNotStr
from pydantic import BaseModel
from typing_extensions import TypedDict

from freehold.wire.contract.shaping import Shaper, reachable


class Cat(TypedDict, total=False):
    type: Required[Literal["cat"]]
    lives: int


class BetaCat(TypedDict, total=False):
    type: Required[Literal["cat"]]
    lives: Required[int | None]
    name: Required[str]


class Dog(TypedDict, total=False):
    type: Literal["dog"]


class Nameless(TypedDict, total=False):
    size: int


class Answer(BaseModel):
    type: Literal["answer"]


@pytest.mark.parametrize(
    ("hint", "shape"),
    [
        (str, "string"),
        (int | None, {"any_of": ["integer", "null"]}),
        (str | datetime, "datetime"),
        (Literal["a", "b"] | str, "string"),
        (Literal["b", "a"], {"literal": ["a", "b"]}),
        (Literal[True] | Literal[False] | Omit, "boolean"),
        (str | Iterable[str], {"any_of": ["string", {"list": "string"}]}),
        (SequenceNotStr[str], {"list": "string"}),
        (dict[str, object], {"map": "any"}),
        (Cat | Omit, "#Cat"),
        (Cat | Answer, "#Cat"),
        (Iterable[Cat | Dog], {"list": {"tag": "type", "of": {"cat": "#Cat", "dog": "#Dog"}, "default": "dog"}}),
    ],
    ids=str,
)
def test_every_kind_of_type_has_its_shape(hint: Any, shape: Any) -> None:
    assert Shaper().of(hint) == shape


def test_required_members_are_those_that_say_so() -> None:
    shaper = Shaper()
    shaper.of(Cat)
    assert shaper.objects["Cat"] == {"fields": {"lives": "integer", "type": {"literal": ["cat"]}}, "required": ["type"]}


def test_a_type_and_its_beta_face_become_one_that_takes_both() -> None:
    shaper = Shaper()
    assert shaper.unite([shaper.of(Cat), shaper.of(BetaCat)]) == "#Cat+"
    assert shaper.objects["Cat+"] == {
        "fields": {"lives": {"any_of": ["integer", "null"]}, "name": "string", "type": {"literal": ["cat"]}},
        "required": ["type"],
    }


def test_types_that_nothing_tells_apart_stop_the_generator() -> None:
    with pytest.raises(TypeError, match="nothing tells these apart"):
        Shaper().of(Cat | Nameless)


def test_a_type_without_a_shape_stops_the_generator() -> None:
    for hint in (set[str], Literal[1], complex):
        with pytest.raises(TypeError, match="no shape"):
            Shaper().of(hint)


def test_only_objects_that_are_led_to_are_kept() -> None:
    shaper = Shaper()
    roots = [{"list": shaper.of(Cat)}]
    shaper.of(Dog)
    assert list(reachable(shaper.objects, roots)) == ["Cat"]
