"""Whether a call runs, asks, or is refused: from the policies of the agent's tools. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["allow", "ask", "deny"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a policy said of one call."""

    verdict: Verdict
    policy: str | None
    """`None`: refused before any policy applied."""

    def fields(self) -> dict[str, Any]:
        """As the event shows it."""
        shown: dict[str, Any] = {"evaluated_permission": self.verdict}
        if self.policy is not None:
            shown["evaluation"] = {"type": self.policy}
        return shown


REFUSED = Evaluation("deny", None)
_VERDICTS: Mapping[str, Verdict] = {"always_allow": "allow", "always_ask": "ask"}


def evaluate(policy: Mapping[str, Any]) -> Evaluation:
    """Judge a call by the policy of its tool.

    A policy that this server does not know asks: it was made for caution, and running the call would not be cautious.
    `auto` is refused when an agent is made, so it does not come here yet.
    """
    kind = str(policy.get("type"))
    verdict = _VERDICTS.get(kind)
    return Evaluation(verdict, kind) if verdict is not None else Evaluation("ask", "always_ask")
