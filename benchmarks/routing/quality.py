"""How well a router learns which questions need the strong model, on questions that two models have answered.

`python -m benchmarks.routing.quality` writes `benchmarks/results/routing.json`: over twenty splits the quality at half
of the calls strong and APGR (the area under the recovered gap; 0.5 is a coin) of our learner, of the keyword rule, of
knowing the subject, and, where scikit-learn is installed, of its TF-IDF with logistic regression in the same folds;
how often the quality bound is violated over 500 draws; and what happens when the questions change.
"""

from __future__ import annotations

import datetime
import json
import lzma
import platform
import random
import statistics
import subprocess
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from freehold.gateway.routing.bound import Judged, gate
from freehold.gateway.routing.learner import Learner, features_of
from freehold.gateway.routing.learning import Route, shape_of
from freehold.gateway.routing.settings import RoutingSettings, rulebook

DATA = Path(__file__).parents[1] / "data" / "routing" / "routellm.jsonl.xz"
RESULTS = Path(__file__).parents[1] / "results" / "routing.json"
SPLITS = 20
TRAIN_SHARE = 0.8
MOST_LOSS = 0.02
_LATE = 100


class Question(NamedTuple):
    """One question, and which model was right (1) or wrong (0)."""

    source: str
    subject: str
    text: bytes
    weak: int
    strong: int

    @property
    def loss(self) -> int:
        """What is lost when the weak model answers."""
        return self.strong - self.weak


Scores = Callable[[Sequence[Question], Sequence[Question]], list[float]]
"""Learn from the first, say of each of the second how much it needs the strong model."""


def questions(source: str | None = None) -> list[Question]:
    """All of them, or those of `mmlu` or `gsm8k`."""
    with lzma.open(DATA, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    made = [Question(row[0], row[1], row[2].encode().lower()[-4096:], row[3], row[4]) for row in rows]
    return [one for one in made if source in (None, one.source)]


def learned(train: Sequence[Question], test: Sequence[Question]) -> list[float]:
    """Our learner, as the gateway uses it: from the prompt alone, one pass."""
    learner = Learner()
    known = [features_of(one.text) for one in train]
    for features in known:
        learner.see(features)
    for features, one in zip(known, train, strict=True):
        learner.learn(features, float(one.loss > 0))
    return [learner.chance(features_of(one.text)) for one in test]


def keywords(_: Sequence[Question], test: Sequence[Question]) -> list[float]:
    """The rule of indicator words."""
    rules = rulebook(RoutingSettings())
    return [_keyword_score(set(one.text.replace(b".", b" ").split()), rules) for one in test]


def _keyword_score(words: set[bytes], rules: Any) -> float:
    if words & rules.complex_words:
        return 1.0
    return -1.0 if words & rules.simple_words else 0.0


def by_subject(train: Sequence[Question], test: Sequence[Question]) -> list[float]:
    """The subject is known as a route of its own: how often the strong model alone was right there."""
    of: dict[str, list[int]] = {}
    for one in train:
        of.setdefault(one.subject, []).append(one.loss)
    means = {subject: statistics.mean(losses) for subject, losses in of.items()}
    return [means.get(one.subject, 0.0) for one in test]


def reference(train: Sequence[Question], test: Sequence[Question]) -> list[float]:
    """scikit-learn's TF-IDF and logistic regression, with its defaults."""
    vectors = import_module("sklearn.feature_extraction.text").TfidfVectorizer()
    matrix = vectors.fit_transform([one.text.decode("utf-8", "ignore") for one in train])
    logistic = import_module("sklearn.linear_model").LogisticRegression(max_iter=1000)
    model = logistic.fit(matrix, [one.loss > 0 for one in train])
    found = model.predict_proba(vectors.transform([one.text.decode("utf-8", "ignore") for one in test]))
    return [float(value) for value in found[:, 1]]


def quality(scores: Sequence[float], test: Sequence[Question], strong_share: float) -> float:
    """The share of right answers when the highest scores go to the strong model."""
    order = _ordered(scores)
    strong = set(order[: round(strong_share * len(test))])
    return sum(one.strong if place in strong else one.weak for place, one in enumerate(test)) / len(test)


def apgr(scores: Sequence[float], test: Sequence[Question]) -> float:
    """The recovered part of the gap, averaged over all shares of strong calls (trapezoids over 101 shares)."""
    order = _ordered(scores)
    gained, total = [0], 0
    for place in order:
        total += test[place].loss
        gained.append(total)
    points = [gained[round(share * len(test) / 100)] / total for share in range(101)]
    return (sum(points) - (points[0] + points[-1]) / 2) / 100


def _ordered(scores: Sequence[float]) -> list[int]:
    """Highest first; equal ones in a fixed random order, so that none profits from the order of the data."""
    chance = random.Random(0)
    return [place for _, _, place in sorted((-score, chance.random(), place) for place, score in enumerate(scores))]


def split(every: Sequence[Question], seed: int) -> tuple[list[Question], list[Question]]:
    """A train and a test part."""
    shuffled = list(every)
    random.Random(seed).shuffle(shuffled)
    cut = round(TRAIN_SHARE * len(shuffled))
    return shuffled[:cut], shuffled[cut:]


def compare(every: Sequence[Question], routers: dict[str, Scores], seeds: Sequence[int]) -> dict[str, Any]:
    """By router: quality at half strong and APGR of every split."""
    found: dict[str, dict[str, list[float]]] = {name: {"quality_at_50": [], "apgr": []} for name in routers}
    for seed in seeds:
        train, test = split(every, seed)
        for name, router in routers.items():
            scores = router(train, test)
            found[name]["quality_at_50"].append(round(quality(scores, test, 0.5), 5))
            found[name]["apgr"].append(round(apgr(scores, test), 5))
    return found


def violations(every: Sequence[Question], draws: int, judged: int, seed: int = 1) -> dict[str, float]:
    """How often the true loss is over the bound when the gate is set from so many judged requests."""
    train, rest = split(every, seed)
    pool = [Judged(score, one.loss) for score, one in zip(learned(train, rest), rest, strict=True)]
    train_too = learned(rest, train)  # the other way round, so that all of them have an honest score
    pool += [Judged(score, one.loss) for score, one in zip(train_too, train, strict=True)]
    chance = random.Random(seed)
    over, shares = 0, []
    for _ in range(draws):
        found = gate(chance.sample(pool, judged), MOST_LOSS)
        true = sum(one.loss for one in pool if one.score < found.threshold) / len(pool)
        over += true > MOST_LOSS
        shares.append(sum(one.score < found.threshold for one in pool) / len(pool))
    return {
        "draws": draws,
        "judged": judged,
        "violated": over / draws,
        "cheap_share": round(statistics.mean(shares), 4),
    }


def change(first: str, then: str, *, judged_share: float, most_loss: float, seed: int = 1) -> dict[str, Any]:
    """One route that learned from one set and is then asked the other: where its calls went, a hundred at a time."""
    chance = random.Random(seed)
    before, after = questions(first), questions(then)
    chance.shuffle(before)
    chance.shuffle(after)
    route = Route(most_loss)
    for one in before:
        route.judge(features_of(one.text), shape_of(one.text), one.loss)
    opened = route.gate.share
    strong: list[int] = []
    for one in after[:1300]:
        seen = route.look(one.text)
        strong.append(not (seen.familiar and seen.loss < seen.threshold))
        if chance.random() < judged_share:
            route.judge(features_of(one.text), shape_of(one.text), one.loss)
    return {
        "learned_from": first,
        "then_asked": then,
        "most_loss": most_loss,
        "judged_share": judged_share,
        "cheap_share_before": round(opened, 3),
        "strong_share_by_hundred": [
            statistics.mean(strong[at : at + _LATE]) for at in range(0, len(strong) - _LATE + 1, _LATE)
        ],
    }


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Mean and spread of every figure."""
    return {
        router: {
            name: {"mean": round(statistics.mean(values), 4), "spread": round(statistics.pstdev(values), 4)}
            for name, values in figures.items()
        }
        for router, figures in found.items()
    }


def main() -> None:
    every = questions()
    routers: dict[str, Scores] = {"ours": learned, "keywords": keywords, "subject_known": by_subject}
    if find_spec("sklearn"):
        routers["scikit_learn"] = reference
    else:
        print("scikit-learn is not installed: its column is left out")
    found = compare(every, routers, range(SPLITS))
    bounds = [violations(every, 500, judged) for judged in (300, 1000, 2000)]
    changes = [
        change(first, then, judged_share=share, most_loss=loss)
        for first, then, loss in (("mmlu", "gsm8k", 0.05), ("gsm8k", "mmlu", 0.2))
        for share in (0.0, 0.1)
    ]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "questions": len(every),
        "splits": SPLITS,
        "summary": summary(found),
        "by_split": found,
        "bound": {"most_loss": MOST_LOSS, "confidence": 0.95, "runs": bounds},
        "changes": changes,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({"summary": result["summary"], "bound": bounds, "changes": changes}, indent=1))


if __name__ == "__main__":
    main()
