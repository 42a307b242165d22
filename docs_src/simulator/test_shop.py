import anthropic
import pytest
from shop import ORDERS, support


@pytest.mark.claude_scenario("refund.yaml")
def test_a_refund_is_paid(claude):
    assert support("I want a refund") == 'Refunded: {"item": "teapot", "amount": 24.5}'
    assert len(claude.requests) == 2
    assert claude.requests[1]["messages"][-1]["content"][0]["type"] == "tool_result"
    assert claude.bill.nanodollars < 1_000_000  # a tenth of a cent


@pytest.mark.claude_scenario("refund.yaml")
def test_an_unknown_order_is_told_to_the_customer(claude, monkeypatch):
    monkeypatch.setitem(ORDERS, "ord_7", None)
    assert support("I want a refund") == "I cannot find that order."


def test_two_overloads_are_survived_and_three_are_not(claude):
    claude.fault("overloaded", times=2, retry_after_ms=10)
    assert support("Hello!") == "Hello! What can I do for you?"
    assert claude.bill.errors == 2
    claude.fault("overloaded", retry_after_ms=10)
    with pytest.raises(anthropic.OverloadedError):
        support("Hello!")
