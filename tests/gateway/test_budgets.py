"""Budgets in the pipeline: who is admitted, who gets 402, and what is settled of every way a call can go."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from freehold.calls import Attempted, Call, Handler, NotAnswered, Reply
from freehold.clock import HandClock
from freehold.errors import BillingRefused, FreeholdError, InvalidRequest, UpstreamFailed
from freehold.gateway.backoff import RetrySettings
from freehold.gateway.middleware.attempt_meter import AttemptMeter
from freehold.gateway.middleware.budgets import Budgets as BudgetsMiddleware
from freehold.gateway.spending import paid_of
from freehold.ledger.bounds import Bounds
from freehold.money import nanodollars
from freehold.simulator.pace import Pace, Spread
from freehold.simulator.upstream import Simulator
from freehold.store import ledger as ledger_rows
from freehold.store.engine import Store
from freehold.store.tables import calls
from freehold.wire.envelopes import replace_fields
from tests.ledger.kit import HAIKU, SONNET, Kit, make_workspace, opened
from tests.store.seeds import eventually

SLOW = Pace(Spread(0.3))


@pytest.fixture
async def kit(store: Store, tmp_path: Path) -> AsyncIterator[Kit]:
    await make_workspace(store)
    async with opened(store, tmp_path / "ledger") as kit:
        yield kit


def billed(kit: Kit) -> int:
    """By the simulator's own account."""
    assert isinstance(kit.upstream, Simulator)
    return kit.upstream.claude.account.total.nanodollars


async def test_a_call_is_settled_at_what_it_has_cost_and_the_rest_is_free_again(kit: Kit) -> None:
    await kit.put(nanodollars(1))
    reply = await kit.ask()
    assert reply.status == 200
    left = dict(reply.headers)[b"x-freehold-budget-remaining-nanodollars"]
    assert 0 < int(left) < nanodollars(1)
    (account,) = await kit.sums()
    assert account.settled == billed(kit) > 0
    assert account.escrowed == account.held == account.lost == 0


async def test_fifty_slow_calls_of_just_under_five_cents_on_a_cap_of_45_cents_admit_exactly_nine(
    store: Store, tmp_path: Path
) -> None:
    await make_workspace(store)
    async with opened(store, tmp_path / "ledger", pace=SLOW) as kit:
        await kit.put(nanodollars("0.45"))
        calls = [kit.ask(model=SONNET, max_tokens=4_950) for _ in range(50)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        admitted = [answer for answer in answers if not isinstance(answer, BaseException)]
        refused = [answer for answer in answers if isinstance(answer, BillingRefused)]
        assert (len(admitted), len(refused)) == (9, 41)
        assert kit.ledger.bank.till.overruns == 0
        assert await kit.settled() == billed(kit) < nanodollars("0.45")


async def test_a_refusal_names_the_budget_its_limit_what_is_left_and_when_it_resets(kit: Kit) -> None:
    budget = await kit.put(1_000, "key", scope_id=None, period="day")
    with pytest.raises(BillingRefused) as caught:
        await kit.ask()
    error = caught.value
    assert (error.status, error.type) == (402, "billing_error")
    assert "key apikey_test" in error.message and "$0.000001 a day" in error.message and "resets at 2" in error.message
    assert error.details["budget_id"] == budget.id
    assert error.details["limit"] == error.details["remaining"] == 1_000
    assert error.headers["x-freehold-budget-remaining-nanodollars"] == "1000"
    (account,) = await kit.sums()
    assert (account.settled, account.escrowed) == (0, 0)


async def test_a_call_counts_at_all_its_scopes_or_at_none(kit: Kit) -> None:
    await kit.put(nanodollars(1), "organization")
    await kit.put(nanodollars(1))
    await kit.put(10, "user", unit="tokens")
    with pytest.raises(BillingRefused, match="user ann"):
        await kit.ask(user_id="ann")
    await kit.ask()
    assert [(one.settled, one.held) for one in await kit.sums() if "/ann" in one.account_id] == [(0, 0)]
    assert [one.settled for one in await kit.sums() if "/ann" not in one.account_id] == [billed(kit)] * 2


async def test_a_budget_for_each_user_holds_for_a_new_one_at_once(store: Store, tmp_path: Path) -> None:
    await make_workspace(store)
    async with opened(store, tmp_path / "ledger", pace=SLOW) as kit:  # slow: all of them are under way at once
        await kit.put(3_000, "user", unit="tokens", period="day")
        users = [f"user {number}" for number in range(5)]
        calls = [kit.ask(user_id=user, max_tokens=1_300) for user in users for _ in range(4)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    admitted = [not isinstance(answer, BaseException) for answer in answers]
    assert all(isinstance(a, BillingRefused) for a in answers if isinstance(a, BaseException))
    assert [0 < sum(admitted[at : at + 4]) < 4 for at in range(0, 20, 4)] == [True] * 5


async def test_a_user_with_a_budget_of_its_own_has_that_instead_of_the_one_of_each(kit: Kit) -> None:
    await kit.put(10, "user", unit="tokens")
    await kit.put(100_000, "user", unit="tokens", scope_id="vip")
    assert (await kit.ask(user_id="vip")).status == 200
    with pytest.raises(BillingRefused):
        await kit.ask(user_id="other")


async def test_a_soft_budget_refuses_nothing_and_alerts_once(kit: Kit) -> None:
    await kit.put(1, enforcement="soft")
    for _ in range(3):
        await kit.ask()
        await kit.ledger.give_back()
    assert await kit.settled() == billed(kit)
    (alert,) = kit.alerts
    assert alert.budget.enforcement == "soft" and alert.account.settled > 0


async def test_a_model_without_a_price_is_refused_where_a_budget_in_money_applies_and_only_there(kit: Kit) -> None:
    assert (await kit.ask(model="house-model-1")).status == 404  # without a budget the upstream judges
    await kit.put(nanodollars(1))
    with pytest.raises(InvalidRequest, match="no price is known for 'house-model-1'"):
        await kit.ask(model="house-model-1")


async def test_a_refused_call_costs_nothing(kit: Kit) -> None:
    await kit.put(nanodollars(1))
    assert (await kit.ask(temperature=9)).status == 400
    assert (await kit.ask(headers=[(b"x-freehold-fault", b"overloaded")])).status == 529
    (account,) = await kit.sums()
    assert (account.settled, account.escrowed) == (0, 0)


async def test_a_lowered_limit_holds_at_once_and_a_raised_one_too(kit: Kit) -> None:
    await kit.put(nanodollars(1))
    await kit.ask()
    await kit.put(1)
    with pytest.raises(BillingRefused):
        await kit.ask()
    await kit.put(nanodollars(1))
    assert (await kit.ask()).status == 200
    (account,) = await kit.sums()
    assert account.settled == billed(kit) and account.slack >= 0


async def test_an_archived_budget_limits_nothing(kit: Kit) -> None:
    budget = await kit.put(1)
    with pytest.raises(BillingRefused):
        await kit.ask()
    await kit.budgets.archive(budget.id, None)
    assert (await kit.ask()).status == 200


async def test_while_escrow_lasts_no_call_waits_for_the_database(kit: Kit) -> None:
    await kit.put(nanodollars(1_000))
    await kit.ask()
    draws = kit.ledger.bank.draws
    for _ in range(50):
        await kit.ask()
    assert kit.ledger.bank.draws == draws


@pytest.mark.parametrize("database_kind", ["sqlite"])
async def test_a_call_whose_answer_never_came_stays_reserved_and_is_listed(kit: Kit) -> None:
    budget = await kit.put(nanodollars(1))
    with pytest.raises(FreeholdError):
        await kit.ask(headers=[(b"x-freehold-fault", b"reset; after=-1")])
    (account,) = await kit.sums()
    assert account.settled == 0 and account.lost == account.escrowed > 0
    (lost,) = await kit.budgets.lost(budget.id, None)
    assert (lost.amount, lost.reason, lost.state, lost.model) == (account.lost, "unanswered", "possibly_billed", HAIKU)
    assert await kit.budgets.release(budget.id, lost.request_id, None) == lost.amount
    (account,) = await kit.sums()
    assert (account.lost, account.escrowed) == (0, 0)


async def test_a_stream_that_was_read_to_its_end_is_settled_exactly(kit: Kit) -> None:
    await kit.put(nanodollars(1))
    await kit.ask(stream=True)
    (account,) = await kit.sums()
    assert account.settled == billed(kit) > 0
    assert (await rows(kit))[0].settlement == "exact"


async def rows(kit: Kit) -> list[Any]:
    """The rows of calls, oldest first."""
    await kit.store.flush()
    async with kit.store.read() as conn:
        return list(await conn.execute(select(calls).order_by(calls.c.started_us)))


@pytest.mark.parametrize("fault", [b"reset; after=3", b"overloaded_in_stream; after=3", b"reset; after=0"])
async def test_a_stream_that_breaks_off_is_settled_with_a_bound_and_its_row_says_so(kit: Kit, fault: bytes) -> None:
    await kit.put(nanodollars(1))
    with contextlib.suppress(FreeholdError, NotAnswered):
        await kit.ask("Say a few words more than three", stream=True, headers=[(b"x-freehold-fault", fault)])
    (account,) = await kit.sums()
    (row,) = await rows(kit)
    assert row.settlement == "bounded"
    assert billed(kit) <= account.settled == row.settled_nanodollars <= row.reserved_nanodollars
    assert kit.ledger.bank.till.overruns == 0


async def test_a_client_that_leaves_in_the_middle_is_settled_with_a_bound(kit: Kit) -> None:
    await kit.put(nanodollars(1))
    async with kit.handler(kit.call("Say a few words", stream=True)) as reply:
        assert reply.reads is not None
        await anext(reply.reads)
    (account,) = await kit.sums()
    (row,) = await rows(kit)
    assert row.settlement in ("bounded", "exact")
    assert billed(kit) <= account.settled <= row.reserved_nanodollars


async def test_a_client_that_leaves_before_the_answer_leaves_its_bound_reserved(store: Store, tmp_path: Path) -> None:
    await make_workspace(store)
    async with opened(store, tmp_path / "ledger", pace=Pace(Spread(30.0))) as kit:
        await kit.put(nanodollars(1))
        asking = asyncio.create_task(kit.ask())
        await eventually(lambda: any(purse.open_calls for purse in kit.ledger._purses.values()))
        await asyncio.sleep(0)  # let it reach the upstream
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        (account,) = await kit.sums()
        assert account.settled == 0 and account.lost >= billed(kit)
        (row,) = await rows(kit)
        assert row.settlement == "lost"


class Scripted:
    """An upstream that answers each attempt as the test says."""

    name = "scripted"

    def __init__(self, *steps: object) -> None:
        self.steps = list(steps)

    @asynccontextmanager
    async def __call__(self, call: Call) -> AsyncIterator[Reply]:
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        usage = {"input_tokens": 10, "output_tokens": step}
        message = {"id": "msg_1", "type": "message", "model": call.model, "usage": usage, "content": []}
        yield Reply(200, [(b"content-type", b"application/json")], whole=json.dumps(message).encode())

    async def close(self) -> None:
        """Nothing is open."""


UNANSWERED = NotAnswered(Attempted.UNANSWERED, UpstreamFailed("gone"))
NOT_SENT = NotAnswered(Attempted.NOT_SENT, UpstreamFailed("no way there"))
RETRIES = RetrySettings(max_retries=2, retry_base_s=0.001)


async def test_an_unanswered_attempt_stays_reserved_while_the_next_one_is_settled_exactly(
    store: Store, tmp_path: Path
) -> None:
    await make_workspace(store)
    upstream = Scripted(UNANSWERED, NOT_SENT, 20)
    async with opened(store, tmp_path / "ledger", upstream=upstream, retries=RETRIES) as kit:
        await kit.put(nanodollars(1))
        await kit.ask()
        (account,) = await kit.sums()
        assert account.settled == 10 * 1_000 + 20 * 5_000
        (row,) = await rows(kit)
        assert row.reserved_nanodollars == 2 * account.lost, "the attempt that was not sent took nothing more"
        assert row.settlement == "lost"


async def test_no_further_attempt_is_made_where_the_budget_has_no_room_for_it(store: Store, tmp_path: Path) -> None:
    await make_workspace(store)
    upstream = Scripted(UNANSWERED, 20)
    async with opened(store, tmp_path / "ledger", upstream=upstream, retries=RETRIES) as kit:
        await kit.put(900_000)  # one attempt of 100 tokens of output costs up to 500,000 and its prompt
        with pytest.raises(BillingRefused):
            await kit.ask()
        (account,) = await kit.sums()
        assert account.settled == 0 and 0 < account.lost <= 900_000
        assert upstream.steps == [20]


async def test_an_attempt_at_a_dearer_model_reserves_what_is_missing(kit: Kit) -> None:
    """As a fallback makes one: the call that reaches the second place is another than the first place saw."""
    await kit.put(nanodollars(1))

    class Dearer:
        def __init__(self, inner: Handler) -> None:
            self.inner = inner

        def __call__(self, call: Call) -> AbstractAsyncContextManager[Reply]:
            body = replace_fields(call.body, call.fields, {"model": b'"claude-opus-5-5"'})
            fields = {**call.fields, "model": b'"claude-opus-5-5"'}
            return self.inner(msgspec.structs.replace(call, body=body, fields=fields, model="claude-opus-5-5"))

    bounds = Bounds(kit.rates)
    budgets = BudgetsMiddleware(kit.ledger, bounds, kit.rates, kit.clock)
    metered = AttemptMeter("simulator", kit.rates, kit.clock)(kit.upstream)
    handler = budgets(Dearer(budgets.each_attempt(metered)))
    call = kit.call()
    async with handler(call) as reply:
        assert reply.status == 200
    first = bounds.of(call, kit.clock.now_us()).nanodollars
    assert first is not None
    (account,) = await kit.sums()
    assert account.settled == billed(kit) <= (paid_of(call).reserved_nanodollars or 0) > 2 * first
    assert kit.ledger.bank.till.overruns == 0


LONG = "word " * 20_000


async def test_a_long_call_far_from_the_limit_reserves_without_a_look_and_is_settled_exactly(kit: Kit) -> None:
    await kit.put(nanodollars(100_000))
    for _ in range(2):  # the first one draws ahead
        await kit.ask([{"type": "text", "text": LONG}])
    (_, row) = await rows(kit)
    exact = Bounds(kit.rates).of(kit.call([{"type": "text", "text": LONG}]), kit.clock.now_us())
    assert row.reserved_nanodollars > (exact.nanodollars or 0) > row.settled_nanodollars > 0
    (account,) = await kit.sums()
    assert (account.settled, account.escrowed) == (billed(kit), 0)


async def test_near_the_limit_a_long_call_is_admitted_by_its_own_bound(store: Store, tmp_path: Path) -> None:
    await make_workspace(store)
    async with opened(store, tmp_path / "ledger", pace=SLOW) as kit:
        content = [{"type": "text", "text": LONG}]
        exact = Bounds(kit.rates).of(kit.call(content), kit.clock.now_us()).nanodollars
        assert exact is not None
        await kit.put(3 * exact + exact // 2)
        answers = await asyncio.gather(*[kit.ask(content) for _ in range(6)], return_exceptions=True)
        assert sum(isinstance(answer, Reply) for answer in answers) == 3
        assert sum(isinstance(answer, BillingRefused) for answer in answers) == 3
        assert await kit.settled() == billed(kit)


async def test_a_lost_attempt_of_a_long_call_keeps_its_own_bound_and_the_next_one_needs_no_more(
    store: Store, tmp_path: Path
) -> None:
    await make_workspace(store)
    upstream = Scripted(20, UNANSWERED, 20)
    async with opened(store, tmp_path / "ledger", upstream=upstream, retries=RETRIES) as kit:
        await kit.put(nanodollars(100_000))
        content = [{"type": "text", "text": LONG}]
        for _ in range(2):  # the first one draws ahead
            await kit.ask(content)
        exact = Bounds(kit.rates).of(kit.call(content), kit.clock.now_us()).nanodollars
        (account,) = await kit.sums()
        assert account.lost == account.escrowed == exact
        (_, row) = await rows(kit)
        assert row.settlement == "lost" and row.reserved_nanodollars > 2 * (exact or 0)
        assert account.settled == 2 * (10 * 1_000 + 20 * 5_000)


async def test_a_budget_begins_anew_with_its_period_and_calls_settle_where_they_reserved(
    store: Store, tmp_path: Path
) -> None:
    await make_workspace(store)
    clock = HandClock()
    async with opened(store, tmp_path / "ledger", clock=clock) as kit:
        await kit.put(1_000, unit="tokens", period="day", timezone="Asia/Shanghai")
        await kit.ask(max_tokens=400)
        with pytest.raises(BillingRefused, match="resets at 2026-01-01T16:00:00"):
            await kit.ask(max_tokens=990)
        call = kit.handler(kit.call(max_tokens=400))
        await call.__aenter__()
        await clock.advance(16 * 3600)
        await call.__aexit__(None, None, None)
        await kit.ask(max_tokens=800)
        first, second = sorted(await kit.sums(), key=lambda one: one.account_id)
        assert (first.escrowed, second.escrowed) == (0, 0)
        assert first.settled > 0 and second.settled > 0


async def test_idle_escrow_goes_back_and_unused_purses_are_forgotten(store: Store, tmp_path: Path) -> None:
    await make_workspace(store)
    clock = HandClock()
    async with opened(store, tmp_path / "ledger", clock=clock) as kit:
        await kit.put(nanodollars(1_000))
        await kit.ask()
        await kit.ledger.bank.settled()
        async with kit.store.read() as conn:
            (account,) = await ledger_rows.sums(conn)
        assert account.held > 0, "it drew ahead"
        for _ in range(3):
            await clock.advance(10)
            await kit.ledger.bank.settled()
        async with kit.store.read() as conn:
            (account,) = await ledger_rows.sums(conn)
        assert account.held == account.escrowed == 0
        assert not kit.ledger._purses


async def test_what_one_process_holds_idle_another_gets_when_it_needs_it(store: Store, tmp_path: Path) -> None:
    await make_workspace(store)
    folder = tmp_path / "ledger"
    async with opened(store, folder) as first, opened(store, folder) as second:
        await first.put(nanodollars("0.1"))
        await first.ask(max_tokens=10)  # draws ahead
        await second.ledger.refresh()
        assert any(purse.free for purse in first.ledger._purses.values())
        most = (nanodollars("0.1") - billed(first)) // 5_000 - 300
        assert (await second.ask(max_tokens=most)).status == 200


async def test_a_call_that_costs_more_than_its_bound_is_settled_whole_counted_and_logged(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await make_workspace(store)
    async with opened(store, tmp_path / "ledger", upstream=Scripted(1_000_000)) as kit:
        await kit.put(nanodollars(1))
        await kit.ask()
        (account,) = await kit.sums()
        assert account.settled == 10 * 1_000 + 1_000_000 * 5_000 > nanodollars(1)
        assert kit.ledger.bank.till.overruns == 1
        assert "its bound was" in caplog.text
        with pytest.raises(BillingRefused):
            await kit.ask()
