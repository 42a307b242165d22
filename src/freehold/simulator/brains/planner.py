"""The default brain: picks tools by the words of the request, calls what is independent at once, then reports.

One answer is one step of a small agent: repair what failed, else make the next calls that can be made, else say what
came back. It keeps no state: everything is read from the conversation, so the same request gives the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence

from freehold.simulator import answers
from freehold.simulator.brains import situation as situations
from freehold.simulator.brains.base import Say, Step, Think, Use
from freehold.simulator.brains.errands import errands, looks_into_memory, remembers
from freehold.simulator.brains.hands import Hands, plain_name
from freehold.simulator.brains.picking import calls as calls_of
from freehold.simulator.brains.picking import fillable, picks, retrieval
from freehold.simulator.brains.repairs import repair
from freehold.simulator.brains.reporting import report
from freehold.simulator.brains.situation import Situation
from freehold.simulator.brains.talk import talk
from freehold.simulator.model.request import Request
from freehold.simulator.structured import fill

_MOST_CALLS = 12
"""Of one message."""


class Planner:
    """See the module."""

    def answer(self, request: Request) -> Sequence[Step]:
        """See `Brain`."""
        situation = situations.read(request)
        calls = self._calls(request, situation)[:_MOST_CALLS]
        if calls:
            return [Think(_plan(calls, situation)), Say(_announce(calls, situation)), *calls]
        if request.schema is not None:
            return [Think(_weighs(situation)), Say(answers.with_schema(fill(request.schema, situation.values)))]
        if situation.done:
            return [Think(_weighs(situation)), Say(report(situation.done, chinese=situation.chinese))]
        return [Think(_weighs(situation)), Say(talk(situation))]

    def _calls(self, request: Request, situation: Situation) -> list[Use]:
        if not request.tools or request.choice.type == "none":
            return []
        hands = Hands(request.tools)
        if situation.done:
            fixes = repair(situation.done, hands, request.tools)
            if fixes:
                return fixes
        planned = _next(request, situation, hands)
        if request.choice.type in ("any", "tool") and not situation.done:
            return _forced(request, situation, planned)
        return planned


def _next(request: Request, situation: Situation, hands: Hands) -> list[Use]:
    """The calls that can be made now: the next errand of each kind, and every fitting tool whose input is known."""
    made = [(done.name, dict(done.input)) for done in situation.done]
    calls: list[Use] = []
    if not situation.done and (note := looks_into_memory(hands)):
        calls.append(note)
    note = remembers(situation.around, hands)
    if note and situation.done and (note.name, dict(note.input)) not in made:
        calls.append(note)
    for stage in errands(situation.task, situation.around, hands):
        waiting = [use for use in stage if (use.name, dict(use.input)) not in made]
        if waiting:
            calls += waiting
            break
    calls += _own_tools(request, situation, hands)
    return calls


def _own_tools(request: Request, situation: Situation, hands: Hands) -> list[Use]:
    around = situation.around
    tools = [
        tool
        for tool in request.tools
        if "input_schema" in tool and tool["name"] not in hands.names and not tool.get("defer_loading")
    ]
    called = {done.name for done in situation.done}
    values = situation.values
    calls = []
    for pick in picks(around, tools, values):
        # What needs another tool's result waits until that has come back.
        if pick.name not in called and pick.fillable:
            calls += calls_of(pick.tool, values)
    searcher = None if calls or situation.done else retrieval(around, tools)
    if searcher is not None and fillable(searcher, values):
        calls += calls_of(searcher, values)
    return calls


def _forced(request: Request, situation: Situation, planned: list[Use]) -> list[Use]:
    """Under `any` and `tool` at least one call, of the named tool if one is named."""
    choice = request.choice
    wanted = [use for use in planned if choice.type == "any" or use.name == choice.name]
    if wanted:
        return wanted
    tool = next(tool for tool in request.tools if choice.type == "any" or tool["name"] == choice.name)
    return calls_of(tool, situation.values)[:1]


def _named(calls: Sequence[Use]) -> str:
    return ", ".join(dict.fromkeys(plain_name(use.name) for use in calls))


def _announce(calls: Sequence[Use], situation: Situation) -> str:
    names = _named(calls)
    if situation.done and situation.done[-1].is_error:
        return (
            f"刚才有一步失败了，再试一次：{names}。"
            if situation.chinese
            else f"One step failed; trying again with {names}."
        )
    if situation.done:
        return f"接下来调用 {names}。" if situation.chinese else f"Next: {names}."
    if situation.chinese:
        return f"好的，我来处理：{'同时' if len(calls) > 1 else ''}调用 {names}。"
    return f"I'll take care of that with {names}" + (", side by side." if len(calls) > 1 else ".")


def _plan(calls: Sequence[Use], situation: Situation) -> str:
    names = _named(calls)
    if situation.chinese:
        independent = "它们互不依赖，可以同时调用。" if len(calls) > 1 else ""
        return f"用户的请求需要用到 {names}。{independent}"
    independent = " They do not depend on each other, so they can run at once." if len(calls) > 1 else ""
    return f"The request calls for {names}.{independent}"


def _weighs(situation: Situation) -> str:
    if situation.done:
        return (
            "结果已经返回，整理后回答用户。" if situation.chinese else "The results are back; I can answer from them."
        )
    return "不需要工具，可以直接回答。" if situation.chinese else "No tool is needed here; I can answer directly."
