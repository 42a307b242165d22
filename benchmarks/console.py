"""How soon the console's pages come when a million calls and ten thousand sessions stand in the database.

`python -m benchmarks.console [--quick]` fills an SQLite database beside the server (the rows that traffic of thirty
days would have left), starts the real server on it, and asks for every page over HTTP as a browser does. For each page:
the very first answer after the start, then the median and the 95th percentile of the rest, in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anthropic
import httpx2

from freehold.ids import new_id
from freehold.launch import ServerProcess

BAR_MS = 100.0
DAYS = 30
_DAY_US = 86_400_000_000
_MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5", "claude-haiku-4-5")
_ERRORS = ("overloaded_error", "rate_limit_error", "invalid_request_error", "client_left")
_LONG = 5_000
"""Events of the longest session."""


class Filled:
    """A database with the rows of a month."""

    def __init__(self, path: Path, seed: int = 5) -> None:
        self._database = sqlite3.connect(path)
        self._database.row_factory = sqlite3.Row
        self._chance = random.Random(seed)
        self._now_us = time.time_ns() // 1000
        self.sessions: list[str] = []
        self._count = 0

    def fill(self, calls: int, sessions: int) -> None:
        """Rows of a month."""
        self._database.execute("PRAGMA synchronous = OFF")
        self._count = calls
        self.sessions = self._sessions(sessions)
        self._events(self.sessions[0])
        self._keys()
        self._insert("calls", self._calls())
        self._copies("audit_log", 50_000, "req", "at_us")
        self._copies("batches", 2_000, "msgbatch", "created_us")
        self._database.commit()
        self._database.execute("ANALYZE")
        self._database.commit()

    def call_id(self) -> str:
        """Any one."""
        return str(self._database.execute("SELECT id FROM calls ORDER BY id LIMIT 1 OFFSET 5000").fetchone()[0])

    def long_session(self) -> str:
        """The session with most events."""
        return str(self._database.execute("SELECT id FROM sessions ORDER BY last_seq DESC LIMIT 1").fetchone()[0])

    def first(self, table: str) -> str:
        """The id of one of its rows."""
        return str(self._database.execute(f"SELECT id FROM {table} LIMIT 1").fetchone()[0])

    def close(self) -> None:
        """No more rows."""
        self._database.close()

    def _rows(self, table: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self._database.execute(f"SELECT * FROM {table}")]

    def _insert(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        columns = [row[1] for row in self._database.execute(f"PRAGMA table_info({table})")]
        places = ", ".join(f":{name}" for name in columns)
        blank = dict.fromkeys(columns)
        filled = ({**blank, **{name: row[name] for name in row if name in blank}} for row in rows)
        self._database.executemany(f"INSERT INTO {table} VALUES ({places})", filled)

    def _spread_us(self, count: int) -> Iterator[int]:
        """So many times of the last month, oldest first."""
        for number in range(count):
            yield self._now_us - DAYS * _DAY_US * (count - number) // count

    def _sessions(self, count: int) -> list[str]:
        model = self._rows("sessions")[0]
        ids = [new_id("sesn") for _ in range(count)]
        agents = self._rows("agents")
        self._insert("sessions", (
            {**model, "id": one, "title": f"Task {number}", "created_us": at, "updated_us": at,
             "agent_id": agents[number % len(agents)]["id"], "thread_id": new_id("sthr")}
            for number, (one, at) in enumerate(zip(ids, self._spread_us(count), strict=True))
        ))  # fmt: skip
        return ids

    def _events(self, session_id: str) -> None:
        model = next(row for row in self._rows("events") if row["type"] == "agent.message")

        def rows() -> Iterator[dict[str, Any]]:
            for number in range(1, _LONG + 1):
                body = {**json.loads(model["body"]), "id": (event_id := new_id("sevt"))}
                yield {**model, "session_id": session_id, "seq": number, "id": event_id, "body": json.dumps(body)}

        self._insert("events", rows())
        self._database.execute("UPDATE sessions SET last_seq = ? WHERE id = ?", (_LONG, session_id))

    def _keys(self) -> None:
        model = self._rows("api_keys")[0]
        self._insert("api_keys", (
            {**model, "id": new_id("apikey"), "name": f"key {number}", "sha256": f"{number:064d}", "role": "member"}
            for number in range(50)
        ))  # fmt: skip

    def _copies(self, table: str, count: int, prefix: str, time_column: str) -> None:
        models = self._rows(table)
        self._insert(table, (
            {**models[-1], "id": new_id(prefix), time_column: at} for at in self._spread_us(count if models else 0)
        ))  # fmt: skip

    def _session_at(self, number: int) -> str:
        """One that was made in the hours before that call."""
        newest = number * len(self.sessions) // self._count
        return self.sessions[max(0, newest - int(self._chance.expovariate(1 / 60)))]

    def _calls(self) -> Iterator[dict[str, Any]]:
        chance = self._chance
        model = self._rows("calls")[0]
        keys = [row["id"] for row in self._rows("api_keys")]
        for number, at in enumerate(self._spread_us(self._count)):
            failed = chance.random() < 0.02
            yield {
                **model,
                "id": f"req_{number:024d}",
                "key_id": keys[int(chance.random() ** 2 * len(keys))],
                "session_id": self._session_at(number) if chance.random() < 0.5 else None,
                "user_id": f"user_{int(chance.random() ** 2 * 500)}",
                "task_type": chance.choice((None, "summarise", "translate", "extract")),
                "source": chance.choice((None, "web", "nightly")),
                "model_asked": (name := chance.choice(_MODELS)),
                "model_answered": None if failed else name,
                "status": chance.choice((400, 429, 529)) if failed else 200,
                "error_type": chance.choice(_ERRORS) if failed else None,
                "stop_reason": None if failed else "end_turn",
                "attempts": 1,
                "input_tokens": None if failed else int(chance.paretovariate(1.2) * 200),
                "output_tokens": None if failed else int(chance.paretovariate(1.3) * 60),
                "cache_write_5m_tokens": None if failed else 0,
                "cache_write_1h_tokens": None if failed else 0,
                "cache_read_tokens": None if failed else chance.choice((0, 0, 4_000)),
                "cost_nanodollars": None if failed else int(chance.paretovariate(1.2) * 900_000),
                "settled_nanodollars": None,
                "latency_us": int(chance.lognormvariate(14, 1)),
                "started_us": at,
            }


def pages(filled: Filled) -> dict[str, str]:
    """Every page, by a name: lists, single things, searches that find much and searches that find nothing."""
    listed = ("", "/sessions", "/agents", "/agents/new", "/environments", "/batches", "/requests", "/keys", "/audit")
    found = {path or "overview": path for path in (*listed, "/doctor")}
    found |= {f"overview of a {span}": f"?span={span}" for span in ("hour", "week", "month")}
    found |= {f"usage by {by}": f"/usage?by={by}" for by in ("model", "day", "key", "session", "user", "task_type")}
    found |= {f"usage by {by}, ever": f"/usage?by={by}&within=all" for by in ("model", "user", "session")}
    found |= {f"chart {name}": f"/charts/{name}.svg?span=month" for name in ("calls", "cost", "latency", "tokens")}
    found["a session of 5,000 events"] = f"/sessions/{filled.long_session()}"
    found["an agent"] = f"/agents/{filled.first('agents')}"
    found["an environment"] = f"/environments/{filled.first('environments')}"
    found["a request"] = f"/requests/{filled.call_id()}"
    found["failed requests"] = "/requests?failed=true"
    found["requests of a user"] = "/requests?user_id=user_1"
    found["requests of nobody"] = "/requests?user_id=nobody"
    found["requests of a session"] = f"/requests?session_id={filled.first('sessions')}"
    found["requests of no model"] = "/requests?model=nothing"
    found["requests with no status"] = "/requests?status=418"
    return found


def measured(web: httpx2.Client, path: str, times: int) -> dict[str, Any]:
    """Milliseconds of that page: the first answer, the median, the 95th percentile."""
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        answered = web.get(f"/console{path}")
        taken.append((time.perf_counter() - began) * 1000)
        if answered.status_code != 200:
            raise RuntimeError(f"{path}: {answered.status_code}")
    first, rest = taken[0], sorted(taken[1:])
    p95 = rest[min(len(rest) - 1, int(len(rest) * 0.95))]
    times_ms = {"first_ms": first, "p50_ms": statistics.median(rest), "p95_ms": p95}
    return {**{name: round(value, 1) for name, value in times_ms.items()}, "bytes": len(answered.content)}


def prepared(folder: Path, calls: int, sessions: int) -> Filled:
    """A database that a server has made, with a month of rows in it."""
    with (
        ServerProcess(folder, arguments=["--upstream", "simulator"]) as server,
        anthropic.Anthropic(base_url=server.address, api_key=server.key) as client,
    ):
        message: Any = {"model": _MODELS[0], "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
        client.messages.create(**message)
        client.messages.batches.create(requests=[{"custom_id": "one", "params": message}])
        agents = [client.beta.agents.create(name=f"agent {number}", model=_MODELS[0]) for number in range(60)]
        environments = [client.beta.environments.create(name=f"environment {number}") for number in range(60)]
        session = client.beta.sessions.create(agent=agents[0].id, environment_id=environments[0].id)
        said: Any = {"type": "user.message", "content": [{"type": "text", "text": "Hello there."}]}
        with client.beta.sessions.events.stream(session.id) as stream:
            client.beta.sessions.events.send(session.id, events=[said])
            for event in stream:
                if event.type == "session.status_idle":
                    break
        client.post(
            "/freehold/v1/budgets", body={"scope": "user", "limit": 10**12, "enforcement": "soft"}, cast_to=object
        )
        client.get("/freehold/v1/usage", cast_to=object)
    filled = Filled(next(folder.glob("*.db")))
    filled.fill(calls, sessions)
    return filled


def reopened(folder: Path) -> Filled:
    """One that an earlier run has kept."""
    return Filled(next(folder.glob("*.db")))


def run(folder: Path, calls: int, sessions: int, times: int) -> dict[str, Any]:
    """Fill (unless that was done before), start, ask."""
    began = time.monotonic()
    filled = reopened(folder) if folder.exists() else prepared(folder, calls, sessions)
    filling_s = round(time.monotonic() - began, 1)
    wanted = pages(filled)
    filled.close()
    with ServerProcess(folder, arguments=["--upstream", "simulator"]) as server:
        began = time.monotonic()
        with httpx2.Client(base_url=server.address, trust_env=False, timeout=120) as web:
            web.post("/console/login", data={"key": server.key}, headers={"origin": server.address})
            _wait_for_sums(folder)
            summing_s = round(time.monotonic() - began, 1)
            found = {name: measured(web, path, times) for name, path in wanted.items()}
    slow = [name for name, one in found.items() if one["p95_ms"] > BAR_MS]
    return {"calls": calls, "sessions": sessions, "days": DAYS, "times": times, "filling_s": filling_s,
            "summing_s": summing_s, "slower_than_100_ms_p95": slow, "pages": found}  # fmt: skip


def _wait_for_sums(folder: Path) -> None:
    """Until the server has summed the month, which it does behind its work after the first start with old calls."""
    with sqlite3.connect(f"file:{next(folder.glob('*.db'))}?mode=ro", uri=True) as database:
        while database.execute("SELECT count(*) FROM call_sums_made WHERE width_us > 4e9").fetchone()[0] < DAYS - 1:
            time.sleep(0.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the result as JSON; 1 where a page is slower than it may be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows, fewer requests")
    parser.add_argument("--times", type=int, help="requests for each page")
    parser.add_argument("--folder", type=Path, help="a data folder that is kept, or was by an earlier run")
    given = parser.parse_args(arguments)
    calls, sessions, times = (50_000, 500, 10) if given.quick else (1_000_000, 10_000, 40)
    with tempfile.TemporaryDirectory(prefix="freehold-console-") as folder:
        result = run(given.folder or Path(folder) / "data", calls, sessions, given.times or times)
    print(json.dumps(result, indent=2))
    return 1 if result["slower_than_100_ms_p95"] and not given.quick else 0


if __name__ == "__main__":
    sys.exit(main())
