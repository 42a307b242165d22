"""The brain that follows a YAML scenario: what to answer to which request, checked line by line before it is used.

    name: refund
    steps:
      - on: {text: "refund"}           # the last user text holds this; or {text_matches: "regex"}
        think: "They want money back."
        say: "Let me look that up."
        call: {tool: get_order, input: {order_id: "ord_1"}}
      - on: {tool_result: get_order}   # its result has just come back; with `error: true` only a failed one
        say: "Order {{result}} is refunded."
      - on: {turn: 3}                  # the third thing the user says
        wait: 0.5
        fail: {status: 529, retry_after_s: 1}
      - say: "Anything else?"          # no `on`: whenever nothing above fits

The first step that fits answers. `say` may be a list, of which each becomes a block; `{{text}}` is the user's last
text, `{{result}}` the last tool result. A scenario keeps no state: the conversation says where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from freehold.simulator.brains import situation as situations
from freehold.simulator.brains.base import Fail, Refuse, Say, Step, Think, Use, Wait
from freehold.simulator.brains.situation import Situation
from freehold.simulator.model.request import Request

_ACTIONS = ("think", "say", "call", "wait", "fail", "refuse")
_STEP_KEYS = frozenset({"on", *_ACTIONS})
_ON_KEYS = frozenset({"text", "text_matches", "tool_result", "error", "turn", "model"})
_FAIL_KEYS = frozenset({"status", "type", "message", "retry_after_s"})
_CALL_KEYS = frozenset({"tool", "input"})
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
} | {
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_LONGEST_WAIT_S = 600
_LARGEST_FILE = 1 << 20


class BrokenScenario(ValueError):
    """A scenario that cannot be used: names the file, the line, and what would be right."""


@dataclass(frozen=True, slots=True)
class On:
    """When a step answers; all that is given must hold."""

    text: str | None = None
    text_matches: re.Pattern[str] | None = None
    tool_result: str | None = None
    error: bool | None = None
    turn: int | None = None
    model: str | None = None

    def fits(self, situation: Situation, request: Request) -> bool:
        """Whether this is the place in the conversation."""
        results = situation.latest
        return (
            (self.text is None or self.text.lower() in situation.task.lower())
            and (self.text_matches is None or bool(self.text_matches.search(situation.task[:20_000])))
            and (self.tool_result is None or any(done.name == self.tool_result for done in results))
            and (self.tool_result is not None or not results)
            and (self.error is None or any(done.is_error for done in results) is self.error)
            and (self.turn is None or situation.turn == self.turn)
            and (self.model is None or self.model in (request.asked_model, request.model.id))
        )


@dataclass(frozen=True, slots=True)
class Scene:
    """One step of a scenario."""

    on: On | None
    actions: tuple[Step, ...]

    def fits(self, situation: Situation, request: Request) -> bool:
        """Whether it answers here; one without `on` answers everywhere."""
        return self.on is None or self.on.fits(situation, request)


class Script:
    """Follows a scenario."""

    def __init__(self, scenes: Sequence[Scene], name: str = "script") -> None:
        self.name = name
        self._scenes = tuple(scenes)

    @classmethod
    def load(cls, path: Path) -> Script:
        """The scenario of a file.

        Raises:
            BrokenScenario: with `file:line: what is wrong`.
        """
        try:
            if path.stat().st_size > _LARGEST_FILE:
                raise BrokenScenario(f"{path}: a scenario has at most {_LARGEST_FILE} bytes")
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BrokenScenario(f"{path}: {error}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str = "scenario") -> Script:
        """The scenario of a YAML text; see `load`."""
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            raise BrokenScenario(f"{where}:{line}: {getattr(error, 'problem', None) or error}") from None
        return _Reader(where).script(root)

    def answer(self, request: Request) -> Sequence[Step]:
        """See `Brain`. A request that no step fits is an error that says so, never a made-up answer."""
        situation = situations.read(request)
        for scene in self._scenes:
            if scene.fits(situation, request):
                return [_filled(action, situation) for action in scene.actions]
        wanted = f"turn {situation.turn}, text {situation.task[:80]!r}"
        if situation.latest:
            wanted += f", results of {', '.join(done.name for done in situation.latest)}"
        return [
            Fail(400, "invalid_request_error", f"The scenario {self.name!r} has no step for this request: {wanted}.")
        ]


def _filled(action: Step, situation: Situation) -> Step:
    """The step with `{{text}}` and `{{result}}` filled in."""
    if isinstance(action, Say):
        return Say(_fill(action.text, situation))
    if isinstance(action, Use):
        return Use(action.name, {key: _fill_any(value, situation) for key, value in action.input.items()})
    return action


def _fill_any(value: Any, situation: Situation) -> Any:
    if isinstance(value, str):
        return _fill(value, situation)
    if isinstance(value, list):
        return [_fill_any(part, situation) for part in value]
    if isinstance(value, dict):
        return {key: _fill_any(part, situation) for key, part in value.items()}
    return value


def _fill(text: str, situation: Situation) -> str:
    result = situation.done[-1].text if situation.done else ""
    return text.replace("{{text}}", situation.task).replace("{{result}}", result)


class _Reader:
    """Reads a scenario from YAML nodes, which know their lines."""

    def __init__(self, where: str) -> None:
        self._where = where

    def script(self, root: yaml.Node | None) -> Script:
        """The whole scenario."""
        if root is None:
            raise BrokenScenario(f"{self._where}:1: the scenario is empty; it needs `steps:`")
        parts = self._mapping(root, frozenset({"name", "steps"}), "a scenario")
        steps = parts.get("steps")
        if not isinstance(steps, yaml.SequenceNode) or not steps.value:
            raise self._broken(steps or root, "`steps` must be a list of at least one step")
        name = self._text(parts["name"], "name") if "name" in parts else self._where
        return Script([self._scene(node) for node in steps.value], name)

    def _scene(self, node: yaml.Node) -> Scene:
        parts = self._mapping(node, _STEP_KEYS, "a step")
        actions = [action for key, value in parts.items() if key in _ACTIONS for action in self._action(key, value)]
        if not actions:
            raise self._broken(node, f"a step needs one of {', '.join(_ACTIONS)}")
        failing = [action for action in actions if isinstance(action, Fail)]
        if failing and any(not isinstance(action, Fail | Wait) for action in actions):
            raise self._broken(node, "`fail` answers instead of anything else; only `wait` may stand beside it")
        return Scene(self._on(parts["on"]) if "on" in parts else None, tuple(actions))

    def _on(self, node: yaml.Node) -> On:
        parts = self._mapping(node, _ON_KEYS, "`on`")
        if not parts:
            raise self._broken(node, f"`on` needs one of {', '.join(sorted(_ON_KEYS))}")
        given: dict[str, Any] = {}
        for key, value in parts.items():
            if key == "turn":
                given[key] = int(self._number(value, "turn", 1, 1_000_000))
            elif key == "error":
                given[key] = self._of_type(value, bool, "error must be true or false")
            else:
                given[key] = self._text(value, key)
        if "text_matches" in given:
            given["text_matches"] = self._pattern(parts["text_matches"], given["text_matches"])
        if "error" in given and "tool_result" not in given:
            raise self._broken(node, "`error` belongs to `tool_result`; name the tool")
        return On(**given)

    def _pattern(self, node: yaml.Node, text: str) -> re.Pattern[str]:
        try:
            return re.compile(text)
        except re.error as error:
            raise self._broken(node, f"text_matches is no regular expression: {error}") from None

    def _action(self, key: str, node: yaml.Node) -> Iterator[Step]:
        several = isinstance(node, yaml.SequenceNode)
        if several and key in ("say", "call"):
            for one in node.value:
                yield from self._action(key, one)
        elif key == "think":
            yield Think(self._text(node, key))
        elif key == "say":
            yield Say(self._text(node, key))
        elif key == "wait":
            yield Wait(self._number(node, "wait", 0, _LONGEST_WAIT_S))
        elif key == "call":
            yield self._call(node)
        elif key == "fail":
            yield self._fail(node)
        else:
            yield Refuse(explanation=self._text(node, key))

    def _call(self, node: yaml.Node) -> Use:
        if isinstance(node, yaml.ScalarNode):
            return Use(self._text(node, "call"))
        parts = self._mapping(node, _CALL_KEYS, "`call`")
        if "tool" not in parts:
            raise self._broken(node, "`call` needs `tool`, and perhaps `input`")
        given = self._value(parts["input"]) if "input" in parts else {}
        if not isinstance(given, dict):
            raise self._broken(parts["input"], "`input` must be a mapping of parameter to value")
        return Use(self._text(parts["tool"], "tool"), given)

    def _fail(self, node: yaml.Node) -> Fail:
        parts = self._mapping(node, _FAIL_KEYS, "`fail`")
        if "status" not in parts:
            raise self._broken(node, "`fail` needs `status`")
        status = int(self._number(parts["status"], "status", 400, 599))
        kind = self._text(parts["type"], "type") if "type" in parts else _TYPES.get(status, "api_error")
        message = (
            self._text(parts["message"], "message") if "message" in parts else f"The scenario answers {status} here."
        )
        after = self._number(parts["retry_after_s"], "retry_after_s", 0, 86_400) if "retry_after_s" in parts else None
        return Fail(status, kind, message, after)

    def _mapping(self, node: yaml.Node, known: frozenset[str], what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._broken(node, f"{what} must be a mapping with {', '.join(sorted(known))}")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if name not in known:
                raise self._broken(key, f"{what} has no {name!r}; known are {', '.join(sorted(known))}")
            if name in found:
                raise self._broken(key, f"{name!r} stands here twice")
            found[name] = value
        return found

    def _value(self, node: yaml.Node) -> Any:
        try:
            return yaml.SafeLoader("").construct_document(node)
        except (yaml.YAMLError, RecursionError) as error:
            raise self._broken(node, str(getattr(error, "problem", None) or error)) from None

    def _of_type(self, node: yaml.Node, kind: type[Any], complaint: str) -> Any:
        value = self._value(node)
        if not isinstance(value, kind):
            raise self._broken(node, complaint)
        return value

    def _text(self, node: yaml.Node, name: str) -> str:
        text: str = self._of_type(node, str, f"{name} must be a text; put it in quotes")
        return text

    def _number(self, node: yaml.Node, name: str, least: float, most: float) -> float:
        value = self._value(node)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise self._broken(node, f"{name} must be a number from {least} to {most}")
        return value

    def _broken(self, node: yaml.Node | Mapping[str, Any], complaint: str) -> BrokenScenario:
        line = node.start_mark.line + 1 if isinstance(node, yaml.Node) else 1
        return BrokenScenario(f"{self._where}:{line}: {complaint}")
