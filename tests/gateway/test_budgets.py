"""Budgets in the pipeline: who is admitted, who gets 402, and what is settled of every way a call can go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.errors import BillingRefused, FreeholdError, InvalidRequest
from freehold.money import nanodollars
from freehold.simulator.pace import Pace, Spread
from freehold.simulator.upstream import Simulator
from freehold.store.engine import Store
from tests.ledger.kit import HAIKU, SONNET, Kit, make_workspace, opened

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
        assert kit.ledger.bank.overruns == 0
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


async def test_a_budget_for_each_user_holds_for_a_new_one_at_once(kit: Kit) -> None:
    await kit.put(3_000, "user", unit="tokens", period="day")
    users = [f"user {number}" for number in range(5)]
    answers = await asyncio.gather(
        *(kit.ask(user_id=user, max_tokens=1_300) for user in users for _ in range(4)), return_exceptions=True
    )
    admitted = [not isinstance(answer, BaseException) for answer in answers]
    assert all(isinstance(a, BillingRefused) for a in answers if isinstance(a, BaseException))
    assert all(0 < sum(admitted[at : at + 4]) < 4 for at in range(0, 20, 4))


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
