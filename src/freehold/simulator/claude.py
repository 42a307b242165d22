"""One simulated Claude: the state that the real one has (cache, limits, bill) and how a request goes through it.

Synchronous and without I/O; the time is an argument. `upstream.py`, `http.py` and `batches.py` are faces onto it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from freehold.context import compaction
from freehold.errors import FreeholdError, InvalidRequest
from freehold.simulator import answers, contexts
from freehold.simulator.account import Account, Line
from freehold.simulator.brains.base import Brain, Fail
from freehold.simulator.brains.echo import Echo
from freehold.simulator.brains.planner import Planner
from freehold.simulator.model import catalog, prices, rules, tokens
from freehold.simulator.model import request as requests
from freehold.simulator.model.cache import Plan, PrefixCache, breakpoints
from freehold.simulator.model.diagnostics import Diagnoses, Fingerprint, fingerprint
from freehold.simulator.model.ids import Ids, Source
from freehold.simulator.model.limits import Limits, RateLimits, check_context
from freehold.simulator.model.prompt import FileBytes, Prompt, lay_out
from freehold.simulator.model.request import Request
from freehold.simulator.model.rules import thinking
from freehold.wire import contract
from freehold.wire.envelopes import error_from

_TOO_DEEP = "the request is nested too deeply"


class Asked(msgspec.Struct, frozen=True):
    """One request as it arrived: its bytes, and who asks. `key` is only a name for the bill."""

    body: bytes
    request_id: str
    ids: Source
    """Where the answer's ids come from; one per request."""
    workspace: str = "default"
    key: str = "default"
    batch: bool = False


@dataclass(slots=True)
class Outcome:
    """A reply that is ready to be sent. `begun` and `billed` of `Claude` finish it."""

    asked: Asked
    request: Request
    answer: answers.Answer
    plan: Plan
    mark: Fingerprint | None
    """Only for requests that opted in to cache diagnostics."""
    started_us: int
    waited_s: float = 0.0
    compacted: contexts.Compacted | None = None


@dataclass(frozen=True, slots=True)
class Character:
    """What one simulated Claude is like."""

    brain: Brain
    brains: Mapping[str, Brain] = field(default_factory=dict)
    """Other brains by model id or alias."""
    seed: int = 0
    exact_counts: bool = False
    """`count_tokens` without its deviation of up to 3 %."""
    limits: Limits | None = None
    """`None`: no rate limits and no headers of them."""
    file_bytes: FileBytes | None = None
    history: int = 1_000
    """Requests kept one by one on the bill."""
    keep_bodies: bool = False
    """Keep the latest requests themselves too, for tests that look at what was asked; not for long runs."""


class Claude:
    """See the module."""

    def __init__(self, character: Character) -> None:
        self.character = character
        self.account = Account(character.history)
        self.cache = PrefixCache()
        self._diagnoses = Diagnoses()
        self.ids = Ids(character.seed)
        self.heard: deque[Asked] = deque(maxlen=character.history)
        self.limits = RateLimits(character.limits) if character.limits else None

    @property
    def scripted(self) -> bool:
        """Whether a brain is at work that is not one of the quick ones, and may ask for waits."""
        return any(
            not isinstance(brain, Planner | Echo) for brain in (self.character.brain, *self.character.brains.values())
        )

    def message(self, asked: Asked, now_us: int) -> Outcome:
        """The reply to a request for a message.

        Raises:
            FreeholdError: what the real API would answer with an error status; also put on the bill, at no cost.
        """
        if self.character.keep_bodies:
            self.heard.append(asked)
        try:
            return self._message(asked, now_us)
        except FreeholdError as error:
            self.note_error(asked, error, "messages", now_us)
            raise

    def _message(self, asked: Asked, now_us: int) -> Outcome:
        reading = self._read(asked.body, "messages.create")
        compacted = None
        if reading.compact is not None and reading.prompt.tokens >= reading.compact.at:
            reading, compacted = self._compact(asked, reading, now_us)
        request, prompt = reading.request, reading.prompt
        most = check_context(request, prompt.tokens)
        plan = self._planned(asked, request, prompt, now_us)
        if self.limits and not asked.batch:
            self.limits.admit(asked.workspace, request.model, prompt.tokens - plan.read, now_us)
        brain = self.character.brains.get(request.asked_model, self.character.brain)
        pauses = compacted is not None and reading.compact is not None and reading.compact.pause
        steps = [] if pauses else brain.answer(request)
        failure, waited_s = answers.first_failure(steps)
        if failure is not None:
            raise _failed(failure)
        answer = answers.compose(request, steps, asked.ids, self.character.seed, plan, most, asked.batch)
        mark = fingerprint(request, prompt) if request.diagnose else None
        if mark is not None:
            answer.message["diagnostics"] = self._diagnoses.diagnose(asked.workspace, request.previous_message_id, mark)
        contexts.told(answer, reading, compacted)
        if compacted is not None and pauses:
            contexts.paused(answer, compacted)
            plan = Plan(0, 0, 0, 0)
        return Outcome(asked, request, answer, plan, mark, now_us, waited_s, compacted)

    def _planned(self, asked: Asked, request: Request, prompt: Prompt, now_us: int) -> Plan:
        points = breakpoints(request, prompt)
        return self.cache.plan(asked.workspace, prompt, points, request.model.cache_minimum, now_us)

    def _compact(
        self, asked: Asked, reading: contexts.Reading, now_us: int
    ) -> tuple[contexts.Reading, contexts.Compacted]:
        """Have the brain summarise; a summary that fails leaves the conversation as it is."""
        request, prompt = self._seen(contexts.summarising(reading))
        most = check_context(request, prompt.tokens)
        plan = self._planned(asked, request, prompt, now_us)
        brain = self.character.brains.get(request.asked_model, self.character.brain)
        steps = brain.answer(contexts.quiet(request))
        failure, _ = answers.first_failure(steps)
        if failure is not None:
            raise _failed(failure)
        made = answers.compose(request, steps, asked.ids, self.character.seed, plan, most)
        said = compaction.summary(made.message)
        if said is not None:
            reading = contexts.continuing(reading, said, self._seen)
        return reading, contexts.Compacted(plan, made.output_tokens, said)

    def begun(self, outcome: Outcome, now_us: int) -> None:
        """The reply begins: from now on others see what it wrote into the cache."""
        self.cache.commit(outcome.plan, outcome.started_us, now_us)
        if outcome.mark is not None:
            self._diagnoses.remember(outcome.asked.workspace, outcome.answer.message["id"], outcome.mark)

    def billed(self, outcome: Outcome, output_tokens: int, now_us: int, fault: str | None = None) -> None:
        """The reply is over, or broke off after so many tokens of output: put it on the bill."""
        request, plan, asked = outcome.request, outcome.plan, outcome.asked
        passes = [prices.Tokens(plan.uncached, output_tokens, plan.write_5m, plan.write_1h, plan.read)]
        if outcome.compacted is not None:
            summed, own = outcome.compacted.plan, outcome.compacted.output_tokens
            passes.append(prices.Tokens(summed.uncached, own, summed.write_5m, summed.write_1h, summed.read))
        cost = sum(
            prices.bill(
                request.model.id, one, outcome.started_us, batch=asked.batch, geo=request.geo, speed=request.speed
            )
            for one in passes
        )
        if self.limits and not asked.batch:
            self.limits.spend_output(asked.workspace, request.model, output_tokens, now_us)
        self.account.add(
            Line(
                request_id=asked.request_id,
                key=asked.key,
                workspace=asked.workspace,
                at_us=outcome.started_us,
                model=request.model.id,
                input_tokens=sum(one.uncached for one in passes),
                output_tokens=sum(one.output for one in passes),
                cache_read_tokens=sum(one.read for one in passes),
                cache_write_5m_tokens=sum(one.write_5m for one in passes),
                cache_write_1h_tokens=sum(one.write_1h for one in passes),
                nanodollars=cost,
                batch=asked.batch,
                message_id=outcome.answer.message["id"],
                fault=fault,
            )
        )

    def count(self, asked: Asked, now_us: int) -> dict[str, Any]:
        """What `count_tokens` answers: free, with a limit of its own, and off by up to 3 % unless told to be exact.

        Edits of the context are made and told of; nothing is compacted.

        Raises:
            FreeholdError: what `message` would refuse too.
        """
        try:
            reading = self._read(asked.body, "messages.count_tokens")
            if self.limits:
                self.limits.admit_count(asked.workspace, reading.request.model, now_us)
        except FreeholdError as error:
            self.note_error(asked, error, "count_tokens", now_us)
            raise
        counted = {"input_tokens": self._told(reading.prompt.tokens, asked)}
        if reading.applied is not None:
            original = self._told(reading.original_tokens, asked)
            return counted | {"context_management": {"original_input_tokens": original}}
        return counted

    def _told(self, exact: int, asked: Asked) -> int:
        return exact if self.character.exact_counts else tokens.deviate(exact, self.character.seed, asked.body)

    def _read(self, raw: bytes, operation: str) -> contexts.Reading:
        body = _parse(raw)
        name = body.get("model")
        if not isinstance(name, str):
            raise InvalidRequest("model: Field required" if name is None else "model: Input should be a valid string")
        try:
            contract.check(operation, body)
            return contexts.read(*self._seen(body), self._seen)
        except RecursionError:
            raise InvalidRequest(_TOO_DEEP) from None

    def _seen(self, body: Mapping[str, Any]) -> tuple[Request, Prompt]:
        """A body whose shape is right, read and checked against the rules."""
        request = requests.read(body, catalog.find(body["model"]))
        seed = self.character.seed
        dropped = thinking.unreadable(request, seed)
        if dropped:
            request = msgspec.structs.replace(request, dropped=dropped)
        rules.check(request, seed)
        return request, lay_out(request, seed=seed, file_bytes=self.character.file_bytes)

    def note_error(self, asked: Asked, error: FreeholdError, route: str, now_us: int, fault: str | None = None) -> None:
        """Put a request that failed on the bill, at no cost."""
        self.account.add(
            Line(
                request_id=asked.request_id,
                key=asked.key,
                workspace=asked.workspace,
                route=route,
                status=error.status,
                error_type=error.type,
                batch=asked.batch,
                at_us=now_us,
                fault=fault,
            )
        )


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {str(error)[:300]}") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The request body is not a JSON object.")
    return body


def _failed(step: Fail) -> FreeholdError:
    error = error_from({"type": step.type, "message": step.message}, step.status)
    if step.retry_after_s is not None:
        error.headers["retry-after"] = f"{step.retry_after_s:g}"
    return error
