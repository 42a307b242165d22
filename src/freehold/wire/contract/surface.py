"""Reads the installed official SDK: which methods it has, what each calls, and which arguments become body and query.

For `generate` only, at development time. The SDK's own source is the authority: routes and keys are taken from the call
that a method makes, types from its signature.
"""

from __future__ import annotations

import ast
import inspect
import operator
import re
import textwrap
import typing
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

_VERBS = {"_post": "POST", "_get": "GET", "_get_api_list": "GET", "_delete": "DELETE", "_put": "PUT", "_patch": "PATCH"}
_NOT_OURS = frozenset({"organization", "with_raw_response", "with_streaming_response", "with_options"})
"""`organization` is the administration of Anthropic's own accounts; the others are other faces of the same methods."""


HELPERS = frozenset(
    {
        "messages.parse",
        "messages.stream",
        "beta.environments.work.poller",
        "beta.environments.work.worker",
        "beta.messages.parse",
        "beta.messages.stream",
        "beta.messages.thread",
        "beta.messages.tool_runner",
        "beta.sessions.events.tool_runner",
    }
)
"""They stand on other methods' routes and add convenience in the client."""

_WITHOUT_A_SERVER = frozenset({"beta.webhooks.parse_unverified", "beta.webhooks.unwrap"})
"""They ask nobody for anything."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of the SDK that asks the server for something."""

    name: str
    """As in code: `beta.sessions.events.send`."""
    verb: str
    path: str
    body: dict[str, Any]
    """Key on the wire → the type of the argument that fills it."""
    query: dict[str, Any]
    required: frozenset[str]
    multipart: bool
    answer: str
    """The class of the answer, in the SDK's words."""
    betas: tuple[str, ...]
    """Values of `anthropic-beta` that the method sets by itself."""


def methods() -> list[Method]:
    """Every non-administrative method of the sync client, in order of name."""
    import anthropic

    found = dict(_walk(anthropic.Anthropic(api_key="unused"), ""))
    return [_method(name, found[name]) for name in sorted(found.keys() - HELPERS - _WITHOUT_A_SERVER)]


def async_only() -> list[str]:
    """The helpers that the sync client does not have."""
    import anthropic

    client = anthropic.Anthropic(api_key="unused")
    return sorted(name for name in HELPERS if not _has(client, name))


def _has(owner: Any, name: str) -> bool:
    try:
        operator.attrgetter(name)(owner)
    except AttributeError:
        return False
    return True


def session_event_types() -> dict[str, list[str]]:
    """The `type` of every event: those a client may send, those a session's log may have, those only a stream has."""
    from anthropic.types.beta import sessions
    from anthropic.types.beta.sessions.beta_managed_agents_event_params import BetaManagedAgentsEventParams

    sent = _tags(BetaManagedAgentsEventParams)
    logged = _tags(sessions.BetaManagedAgentsSessionEvent)
    streamed = _tags(sessions.BetaManagedAgentsStreamSessionEvents)
    return {"sent": sorted(sent), "logged": sorted(logged), "stream_only": sorted(streamed - logged)}


def _tags(union: Any) -> set[str]:
    while typing.get_origin(union) is typing.Annotated:
        union = typing.get_args(union)[0]
    return {tag for member in typing.get_args(union) for tag in _literals(member)}


def _literals(member: Any) -> tuple[str, ...]:
    if hasattr(member, "model_fields"):
        return typing.get_args(member.model_fields["type"].annotation)
    required = typing.get_type_hints(member, include_extras=True)["type"]
    return typing.get_args(typing.get_args(required)[0])


def _walk(owner: Any, prefix: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    from anthropic._resource import SyncAPIResource

    for name, attribute in inspect.getmembers_static(type(owner)):
        if name.startswith("_") or name in _NOT_OURS:
            continue
        if inspect.isfunction(attribute) and prefix:
            yield prefix + name, inspect.unwrap(attribute)
        elif not inspect.isfunction(attribute) and isinstance(child := getattr(owner, name), SyncAPIResource):
            yield from _walk(child, f"{prefix}{name}.")


def _method(name: str, function: Callable[..., Any]) -> Method:
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    call, verb = _request(name, tree)
    hints = _hints(function)
    parameters = inspect.signature(function).parameters
    body, query = _keys(tree, call, "body", parameters), _keys(tree, call, "query", parameters)
    return Method(
        name=name,
        verb=verb,
        path=_path(call),
        body={key: hints[argument] for key, argument in body.items()},
        query={key: hints[argument] for key, argument in query.items()},
        required=frozenset(
            key for key, argument in (body | query).items() if parameters[argument].default is inspect.Parameter.empty
        ),
        multipart="multipart/form-data" in ast.unparse(tree),
        answer=_answer(hints["return"]),
        betas=_own_betas(tree),
    )


def _request(name: str, tree: ast.AST) -> tuple[ast.Call, str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _VERBS:
            return node, _VERBS[node.func.attr]
    raise LookupError(f"{name} asks the server for nothing: is it a new helper?")


def _path(call: ast.Call) -> str:
    """`/v1/sessions/{session_id}`; names in braces are the SDK's own."""
    routes = [
        keyword.value.value
        for node in ast.walk(call)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "span_route" and isinstance(keyword.value, ast.Constant)
    ]
    constants = [node.value for node in ast.walk(call.args[0]) if isinstance(node, ast.Constant)] if call.args else []
    return str((routes or constants)[0])


def _keys(tree: ast.AST, call: ast.Call, part: str, parameters: Container[str]) -> dict[str, str]:
    """Key on the wire → the parameter that fills it, for every dictionary that may become this part of the request."""
    sources = [
        keyword.value
        for node in ast.walk(call)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == part
    ]
    keys: dict[str, str] = {}
    for source in sources:
        for dictionary in _dictionaries(tree, source):
            for key, value in zip(dictionary.keys, dictionary.values, strict=True):
                named = [node.id for node in ast.walk(value) if isinstance(node, ast.Name)]
                # A value that the method computed beforehand is named after its key.
                argument = next((n for n in (*named, _constant(key)) if n in parameters), None)
                if argument is not None:
                    keys[_constant(key)] = argument
    return keys


def _constant(node: ast.expr | None) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _dictionaries(tree: ast.AST, source: ast.expr) -> list[ast.Dict]:
    if isinstance(source, ast.Name):  # `body = deepcopy_with_paths({…})` above
        assigned = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == source.id for target in node.targets)
        ]
        return [found for value in assigned for found in _dictionaries(tree, value)]
    return [node for node in ast.walk(source) if isinstance(node, ast.Dict)][:1]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    module = inspect.getmodule(function)
    assert isinstance(module, ModuleType)
    return typing.get_type_hints(function, globalns=vars(module), include_extras=True)


def _answer(hint: Any) -> str:
    return re.sub(r"[\w.]*\.(\w)", r"\1", inspect.formatannotation(hint))


def _own_betas(tree: ast.AST) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                str(node.value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.fullmatch(r"[a-z-]+-20\d\d-\d\d-\d\d", node.value)
            }
        )
    )
