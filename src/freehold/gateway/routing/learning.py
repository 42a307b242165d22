"""What is learned of every route: its learner, its gate, and whether its prompts have changed. Bounded; no I/O."""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from functools import lru_cache

from freehold.calls import Call
from freehold.gateway.routing.bound import CLOSED, Gate, Judged, gate
from freehold.gateway.routing.decision import Learned
from freehold.gateway.routing.drift import Drift, Figures, shape_of
from freehold.gateway.routing.learner import Learner, features_of
from freehold.gateway.routing.signals import Signals

__all__ = ["Learning", "Route", "route_name", "shape_of"]

_ROUTES = 200
WINDOW = 2_000
"""Judged requests that the gate looks at: the newest."""
_ANEW_EVERY = 20
_WATCHED_EVERY = 2
"""One prompt of so many is looked at for drift."""
_ANEW_PER = 500
"""A large vocabulary takes longer to settle, so that it is done less often."""
_PLACE_BYTES = 200


class Route:
    """One route: calls of one key for one alias that begin alike."""

    def __init__(self, most_loss: float) -> None:
        self.learner = Learner()
        self.gate: Gate = CLOSED
        self.most_loss = most_loss
        self._judged: deque[Judged] = deque(maxlen=WINDOW)
        self._drift = Drift()
        self._since = 0
        self._looks = 0

    def look(self, text: bytes, words: Sequence[bytes] | None = None) -> Learned:
        """What is known of a request with that text. When prompts have changed, the gate must be earned anew."""
        features = features_of(text, words)
        seen = self.learner.look(features)
        self._looks += 1
        watched = self._looks % _WATCHED_EVERY == 0
        if watched and not self._drift.served(_figures(shape_of(text), len(features), seen)):
            self.forget_judged()
            return Learned(seen[0], 0.0, False)
        return Learned(seen[0], self.gate.threshold, True)

    def forget_judged(self) -> None:
        """Close the gate: what was measured is not true of these prompts."""
        self._judged.clear()
        self._drift = Drift()
        self.gate = CLOSED

    def judge(self, features: Collection[int], shape: tuple[float, float], loss: float) -> None:
        """Both models have answered a request; what was said of it before counts, then it is learned."""
        chance = self.learner.chance(features)
        self._drift.judged(_figures(shape, len(features), self.learner.look(features)))
        self._judged.append(Judged(chance, loss))
        self.learner.see(features)
        self.learner.learn(features, 1.0 if loss > 0 else 0.0)
        self._since += 1
        if self._since >= max(_ANEW_EVERY, self.learner.vocabulary // _ANEW_PER):
            self._since = 0
            self.gate = gate(self._judged, self.most_loss)
            self.learner.settle()


def _figures(shape: tuple[float, float], features: int, seen: tuple[float, float, float]) -> Figures:
    """What drift is told of a prompt with so many features."""
    chance, new, rarity = seen
    return *shape, 1 - new / features, rarity / features, chance


class Learning:
    """The routes of a process; `most_loss` is the bound that each keeps."""

    def __init__(self, most_loss: float) -> None:
        self._most_loss = most_loss
        self._routes: OrderedDict[str, Route] = OrderedDict()
        self._by_key: dict[_Key, Route] = {}

    def renew(self, most_loss: float) -> None:
        """From now on routes keep this bound; those that are known, with their next judged requests."""
        self._most_loss = most_loss
        for route in self._routes.values():
            route.most_loss = most_loss

    def look(self, call: Call, signals: Signals) -> Learned | None:
        """What is known of this call; `None`: its route has not earned any trust."""
        if not self._routes:
            return None
        key = _key(call)
        route = self._by_key.get(key)
        if route is None:
            route = self._find(key)
        return route.look(signals.text, signals.words) if route is not None and route.gate.share else None

    def _find(self, key: _Key) -> Route | None:
        route = self._routes.get(_name(key))
        if route is not None:
            if len(self._by_key) > _ROUTES:
                self._by_key.clear()
            self._by_key[key] = route
        return route

    def route(self, name: str) -> Route:
        """The route of that name, made where it was missing."""
        route = self._routes.get(name)
        if route is None:
            route = self._routes[name] = Route(self._most_loss)
            while len(self._routes) > _ROUTES:
                self._routes.popitem(last=False)
                self._by_key.clear()
        self._routes.move_to_end(name)
        return route


_Key = tuple[str, str, str | None, int, bytes]


def _key(call: Call) -> _Key:
    caller, fields = call.caller, call.fields
    tools, system = fields.get("tools", b""), fields.get("system", b"")[:_PLACE_BYTES]
    return caller.key_id if caller is not None else "", call.model, call.task_type, len(tools), system


def route_name(call: Call) -> str:
    """Calls of one key for one alias with the same tools, and system prompts that begin alike: as a hash."""
    return _name(_key(call))


@lru_cache(maxsize=1024)
def _name(key: _Key) -> str:
    return hashlib.blake2b(repr(key).encode("utf-8", "replace"), digest_size=16).hexdigest()
