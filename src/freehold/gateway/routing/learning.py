"""What is learned of every route: its learner, its gate, and whether its prompts have changed. Bounded; no I/O."""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Sequence

from freehold.calls import Call
from freehold.gateway.routing.bound import CLOSED, Gate, Judged, gate
from freehold.gateway.routing.decision import Learned
from freehold.gateway.routing.drift import Drift, shape_of
from freehold.gateway.routing.learner import Learner, features_of
from freehold.gateway.routing.signals import Signals

__all__ = ["Learning", "Route", "route_name", "shape_of"]

_ROUTES = 200
WINDOW = 2_000
"""Judged requests that the gate looks at: the newest."""
_ANEW_EVERY = 20
_PLACE_BYTES = 200


class Route:
    """One route: calls of one key for one alias that begin alike."""

    def __init__(self, most_loss: float) -> None:
        self.learner = Learner()
        self.gate: Gate = CLOSED
        self._most_loss = most_loss
        self._judged: deque[Judged] = deque(maxlen=WINDOW)
        self._drift = Drift()
        self._since = 0

    def look(self, text: bytes) -> Learned:
        """What is known of a request with that text. When prompts have changed, the gate must be earned anew."""
        features = features_of(text)
        chance = self.learner.chance(features)
        familiar = self._drift.served((*shape_of(text), self.learner.known_share(features), chance))
        if not familiar:
            self.forget_judged()
        return Learned(round(chance, 4), round(self.gate.threshold, 4), familiar)

    def forget_judged(self) -> None:
        """Close the gate: what was measured is not true of these prompts."""
        self._judged.clear()
        self._drift = Drift()
        self.gate = CLOSED

    def judge(self, features: Sequence[int], shape: tuple[float, float], loss: float) -> None:
        """Both models have answered a request; what was said of it before counts, then it is learned."""
        chance = self.learner.chance(features)
        self._drift.judged((*shape, self.learner.known_share(features), chance))
        self._judged.append(Judged(chance, loss))
        self.learner.see(features)
        self.learner.learn(features, 1.0 if loss > 0 else 0.0)
        self._since += 1
        if self._since >= _ANEW_EVERY:
            self._since = 0
            self.gate = gate(self._judged, self._most_loss)


class Learning:
    """The routes of a process; `most_loss` is the bound that each keeps."""

    def __init__(self, most_loss: float) -> None:
        self._most_loss = most_loss
        self._routes: OrderedDict[str, Route] = OrderedDict()

    def look(self, call: Call, signals: Signals) -> Learned | None:
        """What is known of this call; `None`: nothing was judged on its route yet."""
        if not self._routes:
            return None
        route = self._routes.get(route_name(call))
        return route.look(signals.text) if route is not None else None

    def route(self, name: str) -> Route:
        """The route of that name, made where it was missing."""
        route = self._routes.get(name)
        if route is None:
            route = self._routes[name] = Route(self._most_loss)
            while len(self._routes) > _ROUTES:
                self._routes.popitem(last=False)
        self._routes.move_to_end(name)
        return route


def route_name(call: Call) -> str:
    """Calls of one key for one alias with the same tools, and system prompts that begin alike."""
    caller = call.caller
    begin = call.fields.get("system", b"")[:_PLACE_BYTES].decode("utf-8", "replace")
    tools = len(call.fields.get("tools", b""))
    name = f"{caller.key_id if caller is not None else ''}|{call.model}|{call.task_type or ''}|{tools}|{begin}"
    return hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=16).hexdigest()
