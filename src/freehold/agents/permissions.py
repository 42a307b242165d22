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
    reason_code: str | None = None
    """Of a judge that did not allow it."""

    def fields(self) -> dict[str, Any]:
        """As the event shows it."""
        shown: dict[str, Any] = {"evaluated_permission": self.verdict}
        if self.policy == "auto":
            reason = {} if self.reason_code is None else {"reason_code": self.reason_code}
            shown["evaluation"] = {"type": "auto", "evaluated_permission": {"type": self.verdict, **reason}}
        elif self.policy is not None:
            shown["evaluation"] = {"type": self.policy}
        return shown

    def problem(self, name: str) -> str | None:
        """What the model is told of a call that was judged and may not run."""
        if self.policy != "auto" or self.verdict != "deny":
            return None
        return f"{name} was not run: it was judged too risky ({self.reason_code}). Find another way, or ask the user."


REFUSED = Evaluation("deny", None)
_VERDICTS: Mapping[str, Verdict] = {"always_allow": "allow", "always_ask": "ask"}


def judged(verdict: Verdict, reason_code: str | None = None) -> Evaluation:
    """What a judge said of a call whose policy is `auto`."""
    return Evaluation(verdict, "auto", reason_code)


def evaluate(policy: Mapping[str, Any], judgement: Evaluation | None = None) -> Evaluation:
    """Decide about a call by the policy of its tool; `judgement` is the judge's, where the policy wants one.

    A policy that this server does not know asks: it was made for caution, and running the call would not be cautious.
    """
    kind = str(policy.get("type"))
    if kind == "auto":
        return judgement or judged("ask", "indeterminate")
    verdict = _VERDICTS.get(kind)
    return Evaluation(verdict, kind) if verdict is not None else Evaluation("ask", "always_ask")
