"""The running bill of the demo, read from a real server, and the stop when it grows too large."""

from __future__ import annotations

import pytest

from freehold.cli.story.bill import COLUMNS, Meter, OverBudget
from freehold.testing import server_in_thread

MODEL = "claude-haiku-5-5"


def test_the_bill_is_the_sum_of_what_was_called_and_stops_at_the_limit() -> None:
    with server_in_thread() as running:
        client = running.sync_client
        assert Meter(client, None).read().rows() == [["all", "0", "0", "0", "0", "0.00 s", "$0.00"]]
        Meter(client, 1).check()
        used = [
            client.messages.create(
                model=MODEL, max_tokens=50, messages=[{"role": "user", "content": f"question {number}"}]
            ).usage
            for number in range(2)
        ]
        bill = Meter(client, None).read()
        row = dict(zip(COLUMNS, bill.rows()[0], strict=True))
        assert (row["model"], row["calls"]) == (MODEL, "2")
        assert row["tokens in"] == str(sum(usage.input_tokens for usage in used))
        assert row["out"] == str(sum(usage.output_tokens for usage in used))
        assert bill.rows()[-1][1:] == bill.rows()[0][1:]
        Meter(client, bill.cost_nanodollars + 1).check()
        with pytest.raises(OverBudget, match=r"stopped: \$0\.\d+ are spent, and the demo may spend"):
            Meter(client, bill.cost_nanodollars).check()
