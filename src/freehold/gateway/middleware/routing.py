"""Calls that leave the model to this server, and calls with a maximal cost: decided, explained, sent on.

A call that names a model and no maximal cost passes for one look into a dictionary. The decision goes into the
row of the call, with all that it was made of. A plain call (see `router.py`) that nothing has to be waited for gets
no place in the stack: it is decided while the stack is built, and its answer is not looked at, but for a sample.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from msgspec.structs import replace

from freehold.calls import Call, Handler, Reply
from freehold.clock import Clock
from freehold.errors import InvalidRequest
from freehold.gateway.attempts import Attempt, attempts_of
from freehold.gateway.routed import ROUTE, Routed, note_routed
from freehold.gateway.routing.asking import Answered, Asking, Shadows
from freehold.gateway.routing.decision import Decision, Inputs, decide
from freehold.gateway.routing.estimate import LEARNED_FROM_BYTES
from freehold.gateway.routing.kept import read_record, record
from freehold.gateway.routing.plain import asking_for, decide_plainly
from freehold.gateway.routing.router import Router, said_of
from freehold.gateway.routing.signals import Signals, read_signals
from freehold.money import show_dollars
from freehold.wire.facts import Facts

_LOOKED_AT_EVERY = 16
"""Of small answers so many are one whose length is learned from."""
_COST = b"x-freehold-cost-nanodollars"


class KnowsDecisions(Protocol):
    """See `store.route_decisions.RouteDecisions`."""

    async def last_about(self, conversation: str) -> str | None:
        """The record of the decision that has moved a conversation last, in any process."""
        ...


@dataclass(slots=True)
class Judging:
    """Requests of routing's own. `agreement`: closed questions go to the cheapest model twice before a dearer one."""

    asking: Asking
    shadows: Shadows
    agreement: bool = False


class Routing:
    """See the module.

    Raises:
        InvalidRequest: no model of the name takes the request, or none is cheap enough; the cheapest estimate is told.
    """

    def __init__(self, router: Router, decisions: KnowsDecisions, clock: Clock, judging: Judging) -> None:
        self.router = router
        self.decisions = decisions
        self.clock = clock
        self.judging = judging
        self._calls = 0

    def __call__(self, inner: Handler) -> Handler:
        """See `Middleware`."""
        aliases = self.router.rules.aliases

        def handle(call: Call) -> AbstractAsyncContextManager[Reply]:
            if call.model in aliases:
                return self._begin(inner, call)
            if call.max_cost_nanodollars is not None:
                self.check_cost(call)
            return inner(call)

        return handle

    def _begin(self, inner: Handler, call: Call) -> AbstractAsyncContextManager[Reply]:
        signals, judging = read_signals(call), self.judging
        sampled, model = judging.shadows.draws(), None
        if not (sampled or judging.agreement or self.router.has_forgotten(signals)):
            model = decide_plainly(self.router, call, signals, self.clock.now_us())
        if model is None:
            return _Routed(self, inner, call, signals, sampled)
        context = inner(asking_for(call, model))
        self._calls += 1
        if len(call.body) > LEARNED_FROM_BYTES or self._calls % _LOOKED_AT_EVERY == 0:
            return _Looked(self, context, call, signals, model)
        return context

    def learn(self, call: Call, signals: Signals, model: str) -> None:
        """The answer of that model is over: learn from it what requests come to."""
        attempts = attempts_of(call)
        usage = attempts[-1].facts.usage if attempts else None
        if usage is not None:
            self.router.estimates.answered(model, call, signals, usage, self.clock.now_us())

    def check_cost(self, call: Call) -> None:
        """A call that names its model and what it may cost."""
        option = self.router.estimates.one(call.model, call, read_signals(call), self.clock.now_us())
        if option.most is None or option.most > (call.max_cost_nanodollars or 0):
            raise _too_dear(call, option.most)


class _Looked:
    """A plain call whose answer is learned from."""

    __slots__ = ("_call", "_context", "_model", "_routing", "_signals")

    def __init__(
        self, routing: Routing, context: AbstractAsyncContextManager[Reply], call: Call, signals: Signals, model: str
    ) -> None:
        self._routing = routing
        self._context = context
        self._call = call
        self._signals = signals
        self._model = model

    async def __aenter__(self) -> Reply:
        return await self._context.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._routing.learn(self._call, self._signals, self._model)
        return await self._context.__aexit__(kind, error, trace)


class _Routed:
    """A call about which something has to be asked or worked out first, or whose answer is to be judged."""

    __slots__ = ("_answer", "_call", "_context", "_decision", "_inner", "_inputs", "_routing", "_sampled", "_signals")

    def __init__(self, routing: Routing, inner: Handler, call: Call, signals: Signals, sampled: bool) -> None:
        self._routing = routing
        self._inner = inner
        self._call = call
        self._signals = signals
        self._sampled = sampled
        self._answer: bytes | None = None
        self._context: AbstractAsyncContextManager[Reply] | None = None

    async def __aenter__(self) -> Reply:
        routing, call, signals = self._routing, self._call, self._signals
        router = routing.router
        if router.has_forgotten(signals):
            last = await routing.decisions.last_about(signals.conversation)
            tier = read_record(last).decision.tier if last is not None else None
            if tier is not None:
                router.remember(signals.conversation, tier)
        now_us = routing.clock.now_us()
        inputs = router.inputs(call, signals, now_us)
        decision, moved = router.decide(inputs, signals)
        agreed = None
        if routing.judging.agreement and _is_closed(call, signals, inputs, decision):
            agreed = await routing.judging.asking.agreed(call, inputs.options[0].model)
            inputs = replace(inputs, cheap_answers="agreed" if agreed else "differed")
            decision = decide(inputs)
        said = (said_of(call.model, decision) + call.request_id).encode()
        text = record(signals.conversation, inputs, decision)
        note_routed(call, Routed(said, signals.conversation if moved else None, text))
        if decision.model is None:
            raise _refused(call, inputs, decision)
        self._inputs, self._decision = inputs, decision
        if agreed:
            return _taken(call, agreed, said)
        self._context = self._inner(asking_for(call, decision.model))
        reply = await self._context.__aenter__()
        self._answer = reply.whole if reply.status == 200 and call.route == "messages" else None
        return reply

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if self._context is None:
            return None
        model = self._decision.model or ""
        self._routing.learn(self._call, self._signals, model)
        try:
            return await self._context.__aexit__(kind, error, trace)
        finally:
            strong = _strong(self._inputs, self._decision)
            judging = self._routing.judging
            if self._sampled and self._answer is not None and error is None and strong:
                models = (model, self._inputs.options[0].model, strong)
                judging.shadows.judge(self._call, self._signals, self._answer, models)


_CLOSED_TOKENS = 64
"""An answer that may not be longer is a label or a number."""


def _is_closed(call: Call, signals: Signals, inputs: Inputs, decision: Decision) -> bool:
    """Whether the question has an answer that can be compared, and a cheaper model could give it."""
    if call.stream or call.route != "messages" or decision.tier in (None, inputs.options[0].tier):
        return False
    if inputs.options[0].refuses is not None or inputs.task_tier is not None or inputs.most_nanodollars is not None:
        return False
    formatted = b'"json_schema"' in call.fields.get("output_config", b"") or "output_format" in call.fields
    return signals.besides.forced or formatted or signals.most_output <= _CLOSED_TOKENS


def _taken(call: Call, agreed: list[Answered], said: bytes) -> Reply:
    """The first of two answers that agree. Both are on the record by themselves, so this call has cost nothing."""
    first = agreed[0]
    facts = first.attempt.facts
    noted = Attempt(first.attempt.upstream, first.attempt.model, call.started_ns, 200)
    noted.whole = Facts(facts.message_id, facts.model, facts.stop_reason, None, None, None, True, True)
    attempts_of(call).append(noted)
    cost = sum(one.attempt.cost_nanodollars or 0 for one in agreed)
    headers = [pair for pair in first.headers if pair[0] not in (ROUTE, _COST)]
    return Reply(200, [*headers, (_COST, b"%d" % cost), (ROUTE, said)], whole=first.whole)


def _strong(inputs: Inputs, decision: Decision) -> str | None:
    """The model that the rule alone would have asked; `None` where that is the cheapest one, or was not the rule's."""
    if inputs.task_tier is not None or inputs.least or inputs.options[0].refuses is not None:
        return None
    tiers = {option.tier: option.model for option in inputs.options}
    before = [step.tier for step in decision.steps if step.what not in ("learned", "agreement", "disagreement")]
    return tiers[before[-1]] if before and before[-1] != inputs.options[0].tier else None


def _refused(call: Call, inputs: Inputs, decision: Decision) -> InvalidRequest:
    if decision.because == "max_cost":
        prices = [option.most for option in inputs.options if option.refuses is None and option.most is not None]
        return _too_dear(call, min(prices, default=None))
    why = "; ".join(f"{option.model}: {option.refuses}" for option in inputs.options)
    return InvalidRequest(f"model: no model behind {call.model!r} takes this request ({why}).")


def _too_dear(call: Call, cheapest: int | None) -> InvalidRequest:
    allowed = show_dollars(call.max_cost_nanodollars or 0)
    if cheapest is None:
        return InvalidRequest(f"x-freehold-max-cost-usd: no price is known for {call.model[:100]!r}.")
    return InvalidRequest(
        f"x-freehold-max-cost-usd: {allowed} is not enough; the cheapest estimate is {show_dollars(cheapest)}. Allow "
        "more, send less, or lower max_tokens.",
        details={"error_code": "max_cost_too_low", "cheapest_estimate_nanodollars": cheapest},
    )
