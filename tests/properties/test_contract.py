"""The generated shapes against the SDK's own types, with pydantic as the judge that shares no code with ours."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest
from anthropic.types.beta import (
    agent_create_params,
    agent_update_params,
    deployment_create_params,
    environment_create_params,
    environment_update_params,
    memory_store_create_params,
    message_count_tokens_params,
    message_create_params,
    session_create_params,
    session_update_params,
)
from anthropic.types.beta.sessions import event_send_params, resource_add_params
from anthropic.types.beta.vaults import credential_create_params
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import freehold.wire.contract
from freehold.errors import InvalidRequest
from freehold.wire.contract import check

TYPES: dict[str, Any] = {
    "agents.create": agent_create_params.AgentCreateParams,
    "agents.update": agent_update_params.AgentUpdateParams,
    "deployments.create": deployment_create_params.DeploymentCreateParams,
    "environments.create": environment_create_params.EnvironmentCreateParams,
    "environments.update": environment_update_params.EnvironmentUpdateParams,
    "memory_stores.create": memory_store_create_params.MemoryStoreCreateParams,
    "messages.count_tokens": message_count_tokens_params.MessageCountTokensParams,
    "messages.create": message_create_params.MessageCreateParams,
    "sessions.create": session_create_params.SessionCreateParams,
    "sessions.events.send": event_send_params.EventSendParams,
    "sessions.resources.add": resource_add_params.ResourceAddParams,
    "sessions.update": session_update_params.SessionUpdateParams,
    "vaults.credentials.create": credential_create_params.CredentialCreateParams,
}
_CONTRACT = json.loads((Path(freehold.wire.contract.__file__).parent / "shapes" / "requests.json").read_text())
_FREE = {"any": {"free": [1, None]}, "null": None, "datetime": "2026-11-23T06:12:58Z"}
_SIMPLE: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "integer": st.integers(-5, 5),
    "number": st.floats(-1, 1),
    "string": st.sampled_from(["", "x", "text", "ü"]),
    **{name: st.builds(copy.deepcopy, st.just(value)) for name, value in _FREE.items()},
}


@functools.cache
def of_object(name: str) -> st.SearchStrategy[Any]:
    return st.deferred(lambda: of_members(_CONTRACT["objects"][name]))


def of_members(shape: dict[str, Any]) -> st.SearchStrategy[Any]:
    required = {name: of_shape(shape["fields"][name]) for name in shape["required"]}
    # Few of the optional members at a time, or a value of Messages would never end.
    optional = [name for name in shape["fields"] if name not in required]
    some = st.lists(st.sampled_from(optional), max_size=2, unique=True) if optional else st.just([])
    return some.flatmap(
        lambda names: st.fixed_dictionaries({**required, **{name: of_shape(shape["fields"][name]) for name in names}})
    )


def of_shape(shape: Any) -> st.SearchStrategy[Any]:
    if isinstance(shape, str):
        return of_object(shape[1:]) if shape.startswith("#") else _SIMPLE[shape]
    if "literal" in shape:
        return st.sampled_from(shape["literal"])
    if "list" in shape:
        return st.lists(of_shape(shape["list"]), max_size=2)
    if "map" in shape:
        return st.dictionaries(st.sampled_from(["k", "l"]), of_shape(shape["map"]), max_size=2)
    if "tag" in shape:
        tag = shape["tag"]
        return st.sampled_from(sorted(shape["of"])).flatmap(
            lambda value: of_object(shape["of"][value][1:]).map(lambda found: {**found, tag: value})
        )
    return st.sampled_from(shape["any_of"]).flatmap(of_shape)


@functools.cache
def judge(operation: str) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(TYPES[operation])


def judged(operation: str, body: dict[str, Any]) -> None:
    """Raises what pydantic says against the SDK's type; lists that it would only check when read are read."""
    body = _without_null_callers(body)
    exhausted(judge(operation).validate_python(body), body)


def _without_null_callers(value: Any) -> Any:
    """Blocks as clients may send them back; the one thing in which the shapes allow more than the types of requests."""
    if isinstance(value, dict):
        kept = {name: inner for name, inner in value.items() if (name, inner) != ("caller", None)}
        return {name: _without_null_callers(inner) for name, inner in kept.items()}
    return [_without_null_callers(inner) for inner in value] if isinstance(value, list) else value


def exhausted(value: Any, sent: Any) -> None:
    """Reads every lazy list, but not what pydantic took for one (the letters of a text, the keys of an object)."""
    if isinstance(value, dict):
        for name, inner in value.items():
            exhausted(inner, sent[name])
    elif isinstance(sent, list):
        for inner, inner_sent in zip(value, sent, strict=True):
            exhausted(inner, inner_sent)


def places(value: Any) -> Iterator[Callable[[Any], None]]:
    """A way to replace each member and element, at every depth."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield functools.partial(value.__setitem__, key)
        yield from places(inner)


slow = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("operation", sorted(TYPES))
@slow
@given(st.data())
def test_what_the_shapes_allow_the_sdk_allows(operation: str, data: st.DataObject) -> None:
    body = data.draw(of_members(_CONTRACT["operations"][operation]))
    check(operation, body)
    judged(operation, body)


@pytest.mark.parametrize("operation", sorted(TYPES))
@slow
@given(st.data())
def test_what_the_sdk_forbids_the_shapes_forbid(operation: str, data: st.DataObject) -> None:
    body = data.draw(of_members(_CONTRACT["operations"][operation]))
    ways = list(places(body))
    if not ways:
        return
    data.draw(st.sampled_from(ways))(data.draw(st.sampled_from([None, 7, "odd", [], [None], {}, {"odd": 1}, True])))
    try:
        judged(operation, body)
    except pydantic.ValidationError:
        with pytest.raises(InvalidRequest):
            check(operation, body)
