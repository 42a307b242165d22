"""Does a forecast hold? Simulated batches of traffic that the method was not tuned on: coverage, and width.

    python benchmarks/run.py forecast [--quick]

Each batch is of a family with its own parameters, drawn anew, and is forecast in one of two ways: from earlier calls of
its kind (two to four times as many), or from its own beginning (40 to 60 % of it done). Its interval is compared with
what the batch came to, and its width with the 5th to 95th percentile of re-drawing the answers to the same requests.
Bars: the lower end of Wilson's 99 % interval of the coverage is at least 0.87; the width is at most 1.5 times that of
the re-draws. The families in `TUNED` set the method's one constant and are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from freehold.batches.forecast import Pair, Range, output_tokens

REDRAWS = 200
Draw = Callable[[], int]
Answer = Callable[[int], int]


class Traffic(NamedTuple):
    """How long the inputs are, how long the answer to one of that length, and where answers are cut off."""

    family: str
    asks: Draw
    answers: Answer
    max_tokens: int

    def answer(self, x: int) -> int:
        """One answer's tokens."""
        return max(1, min(self.max_tokens, self.answers(x)))


Family = Callable[[random.Random], Traffic]


def _lognormal(chance: random.Random, mu: float, sigma: float, least: int = 1) -> Draw:
    return lambda: least + int(math.exp(chance.gauss(mu, sigma)))


def label(chance: random.Random) -> Traffic:
    """A class for a text: a few tokens."""
    top = chance.randint(5, 20)
    return Traffic("label", _lognormal(chance, 5.5, 0.5), lambda x: chance.randint(2, top), 64)


def summary(chance: random.Random) -> Traffic:
    """About as long whatever comes in."""
    middle, spread = chance.uniform(80, 300), chance.uniform(0.2, 0.5)
    return Traffic(
        "summary", _lognormal(chance, 7.5, 0.7), lambda x: int(middle * math.exp(chance.gauss(0, spread))), 1024
    )


def translation(chance: random.Random) -> Traffic:
    """As long as what comes in, times something."""
    ratio, spread = chance.uniform(0.8, 1.6), chance.uniform(0.05, 0.2)
    return Traffic(
        "translation", _lognormal(chance, 6.5, 0.8), lambda x: int(ratio * x * math.exp(chance.gauss(0, spread))), 4096
    )


def chat(chance: random.Random) -> Traffic:
    """Anything, often short and sometimes long."""
    mu, sigma = chance.uniform(4, 6), chance.uniform(0.6, 1.2)
    return Traffic("chat", _lognormal(chance, 4.5, 0.9), lambda x: int(math.exp(chance.gauss(mu, sigma))), 1024)


TUNED: Sequence[Family] = (label, summary, translation, chat)


def extraction(chance: random.Random) -> Traffic:
    """JSON with a number of entries."""
    keys, entries = chance.randint(3, 12), chance.uniform(1, 6)

    def answers(x: int) -> int:
        return keys * 6 + sum(chance.randint(5, 20) for _ in range(min(30, int(chance.expovariate(1 / entries)))))

    return Traffic("extraction", lambda: 30 + int(chance.gammavariate(2, 400)), answers, 2048)


def refusing(chance: random.Random) -> Traffic:
    """Two kinds of answers: a long one, and now and then a short no."""
    share, long = chance.uniform(0.02, 0.3), chance.uniform(200, 600)

    def answers(x: int) -> int:
        return chance.randint(15, 30) if chance.random() < share else int(chance.gammavariate(4, long / 4))

    return Traffic("refusing", lambda: 20 + int(chance.gammavariate(3, 150)), answers, 2048)


def capped(chance: random.Random) -> Traffic:
    """Many answers are cut off."""
    mu = chance.uniform(5.5, 6.5)
    return Traffic(
        "capped", lambda: int(100 * chance.paretovariate(2)), lambda x: int(math.exp(chance.gauss(mu, 0.8))), 400
    )


def code(chance: random.Random) -> Traffic:
    """Inputs with a heavy tail, answers that spread with them."""
    ratio = chance.uniform(0.2, 0.6)
    return Traffic(
        "code",
        lambda: int(300 * chance.paretovariate(2.5)),
        lambda x: int(20 + ratio * x * chance.expovariate(1)),
        8192,
    )


def thinking(chance: random.Random) -> Traffic:
    """Long answers that have nothing to do with the length of the question."""
    return Traffic(
        "thinking",
        lambda: 20 + int(chance.gammavariate(2, 100)),
        lambda x: int(chance.weibullvariate(700, 0.9)),
        16_000,
    )


def rewriting(chance: random.Random) -> Traffic:
    """A little shorter than what comes in."""
    return Traffic(
        "rewriting",
        lambda: 20 + int(chance.weibullvariate(800, 1.2)),
        lambda x: int(x * chance.betavariate(8, 2)),
        4096,
    )


UNSEEN: Sequence[Family] = (extraction, refusing, capped, code, thinking, rewriting)


class Outcome(NamedTuple):
    """One batch: whether the interval held, and its width in widths of the re-draws."""

    family: str
    way: str
    held: bool
    width: float


def simulate(seed: int, families: Sequence[Family], most_calls: int = 1_600) -> Outcome:
    """One batch, forecast and then drawn."""
    chance = random.Random(seed)
    traffic = chance.choice(families)(chance)
    count = round(50 * (most_calls / 50) ** chance.random())
    xs = [traffic.asks() for _ in range(count)]
    ys = [traffic.answer(x) for x in xs]
    redrawn = sorted(sum(map(traffic.answer, xs)) for _ in range(REDRAWS))
    width = redrawn[round(0.95 * REDRAWS) - 1] - redrawn[round(0.05 * REDRAWS) - 1]
    way = chance.choice(("history", "beginning"))
    found, done = (_by_history if way == "history" else _by_beginning)(traffic, xs, ys, chance)
    held = found.low + done <= sum(ys) <= found.high + done
    return Outcome(traffic.family, way, held, (found.high - found.low) / max(1, width))


def _by_history(traffic: Traffic, xs: Sequence[int], ys: Sequence[int], chance: random.Random) -> tuple[Range, int]:
    earlier = [(x, traffic.answer(x)) for x in (traffic.asks() for _ in range(round(len(xs) * chance.uniform(2, 4))))]
    return _forecast(earlier, xs, traffic), 0


def _by_beginning(traffic: Traffic, xs: Sequence[int], ys: Sequence[int], chance: random.Random) -> tuple[Range, int]:
    done = round(chance.uniform(0.4, 0.6) * len(xs))
    return _forecast(list(zip(xs[:done], ys[:done], strict=True)), xs[done:], traffic), sum(ys[:done])


def _forecast(known: Sequence[Pair], asked: Sequence[int], traffic: Traffic) -> Range:
    found = output_tokens([known], asked, len(asked) * traffic.max_tokens)
    assert found is not None
    return found


def wilson_low(hits: int, count: int, z: float = 2.5758) -> float:
    """The lower end of Wilson's interval (99 % by default) of a share."""
    share = hits / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count)


def run(batches: int, families: Sequence[Family] = UNSEEN, most_calls: int = 1_600) -> dict[str, Any]:
    """The whole report."""
    seen = [simulate(seed, families, most_calls) for seed in range(batches)]
    groups = {"all": seen}
    for one in seen:
        groups.setdefault(one.way, []).append(one)
        groups.setdefault(one.family, []).append(one)
    return {"batches": batches, **{name: _summary(group) for name, group in groups.items()}}


def _summary(group: Sequence[Outcome]) -> dict[str, float]:
    hits, widths = sum(one.held for one in group), sorted(one.width for one in group)
    return {
        "count": len(group),
        "coverage": round(hits / len(group), 4),
        "coverage_wilson_99_low": round(wilson_low(hits, len(group)), 4),
        "width_to_redraws_mean": round(statistics.mean(widths), 3),
        "width_to_redraws_median": round(statistics.median(widths), 3),
        "width_to_redraws_p90": round(widths[int(0.9 * len(widths))], 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the batches")
    print(json.dumps(run(200 if parser.parse_args().quick else 2_000), indent=2))
