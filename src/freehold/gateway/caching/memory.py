"""Which prefixes were seen and which are warm, and the habits of every route: the memory of one process, bounded."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from freehold.gateway.caching.habits import FIVE_MINUTES_US, HOUR_US, Habit

_NODES = 100_000
_HABITS = 5_000
_Prior = tuple[float, float]
_SHARED: tuple[_Prior, ...] = ((0.5, 0.5), (0.7, 0.3), (0.85, 0.15))
_TALK: tuple[_Prior, ...] = ((0.6, 0.4), (0.8, 0.2), (0.85, 0.15))
_FIRST_TALK: tuple[_Prior, ...] = ((0.2, 0.4), (0.7, 0.3), (0.85, 0.15))
_PRIORS = {"talk": _TALK, "tools_at_work": _TALK, "first_talk": _FIRST_TALK, "first": _FIRST_TALK}
"""Chances of a second occurrence before anything was learned: (for, against)."""


@dataclass(slots=True, eq=False)
class Node:
    """A prefix that was seen."""

    last_us: int
    kind: str
    generation: int = 0
    until_us: int = 0
    """Warm until then; 0: not written."""
    hour: bool = False
    """Written for an hour."""
    lapsed: bool = False
    """Nothing has followed it within five minutes."""
    habit: Habit | None = None
    """Set where its occurrences are counted."""


class Memory:
    """One for a process."""

    def __init__(self, nodes: int = _NODES) -> None:
        self.nodes: OrderedDict[int, Node] = OrderedDict()
        self.habits: OrderedDict[tuple[str, str], Habit] = OrderedDict()
        self._most = nodes
        self._soon: deque[tuple[int, int, Node]] = deque()
        self._late: deque[tuple[int, int, Node]] = deque()

    def habit(self, route: str, kind: str) -> Habit:
        """What is learned of that kind of prefix on that route."""
        habit = self.habits.get((route, kind))
        if habit is None:
            habit = self.habits[route, kind] = Habit(_PRIORS.get(kind.split(".")[0], _SHARED))
            while len(self.habits) > _HABITS:
                self.habits.popitem(last=False)
        return habit

    def known(self, key: int, now_us: int) -> Node | None:
        """The node, if it was seen within the last hour."""
        node = self.nodes.get(key)
        return node if node is not None and now_us - node.last_us <= HOUR_US else None

    def see(self, key: int, kind: str, now_us: int) -> Node:
        """Note that a prefix is there now, for the first time or again; a counted one tells its habit."""
        node = self.nodes.get(key)
        if node is None or now_us - node.last_us > HOUR_US:
            node = self.nodes[key] = Node(now_us, kind)
            while len(self.nodes) > self._most:
                self.nodes.popitem(last=False)
            return node
        habit, before = node.habit, node.generation
        node.generation = min(before + 1, 2)
        if habit is not None:
            habit.followed(before, now_us - node.last_us, known=node.lapsed)
            habit.settled(before, late=node.lapsed)
            habit.waits(node.generation)
        node.last_us, node.lapsed = now_us, False
        self.nodes.move_to_end(key)
        return node

    def count(self, key: int, node: Node, route: str) -> None:
        """Count what follows this node from now on. Only ends of something are counted, not every block."""
        if node.habit is None:
            node.habit = self.habit(route, node.kind)
            node.habit.waits(node.generation)
            self._soon.append((node.last_us, key, node))

    def settle(self, now_us: int) -> None:
        """Take note of what has not been followed by now. Each node waits in one queue at most."""
        while self._soon and now_us - self._soon[0][0] > FIVE_MINUTES_US:
            since_us, key, node = self._soon.popleft()
            assert node.habit is not None
            if node.last_us == since_us:
                node.habit.not_soon(node.generation)
                node.lapsed = True
                self._late.append((since_us, key, node))
            else:
                self._again(key, node)
        while self._late and now_us - self._late[0][0] > HOUR_US:
            since_us, key, node = self._late.popleft()
            assert node.habit is not None
            if node.last_us == since_us:
                node.habit.never(node.generation)
                node.habit = None
            else:
                self._again(key, node)

    def _again(self, key: int, node: Node) -> None:
        """It was seen again meanwhile, and waits from then on. The queue stays nearly in order, which is enough."""
        if self.nodes.get(key) is node:
            self._soon.append((node.last_us, key, node))
        elif node.habit is not None:  # too many others have come: it is not watched any more
            node.habit.settled(node.generation, late=False)
            node.habit = None
