"""A run with an agent: each row becomes a session of its own, with a box and, if wanted, a budget of its own.

Sessions live at the server, so a run that is broken off only stops to look: with --resume it goes on with the sessions
that it has begun, and begins the rest.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from anthropic import APIConnectionError, APIError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from freehold.cli.batch_run.inputs import BadInput, Row
from freehold.cli.batch_run.notes import CannotResume
from freehold.cli.batch_run.plan import Plan
from freehold.cli.batch_run.screen import dollars
from freehold.cli.calling import NoServer, Refused, Server
from freehold.cli.official import client_of
from freehold.cli.running.prepare import Task, begin, resolved
from freehold.errors import FreeholdError
from freehold.money import NANODOLLARS_PER_CENT

_POLL_S = 0.5
_WAITING = ("running", "rescheduling")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How the sessions are made."""

    agent: str
    environment: str | None
    at_once: int
    row_dollars: float | None
    """What one session may cost; `None`: no limit of its own."""


class SessionRun:
    """One run. `rows` gives the same rows in the same order each time that it is called."""

    def __init__(
        self, server: Server, plan: Plan, rows: Callable[[], Iterator[Row]], out: Path, wanted: Wanted
    ) -> None:
        self._server = server
        self._plan = plan
        self._rows = rows
        self._out = out
        self._wanted = wanted
        self._notes = out.with_name(out.name + ".sessions")
        self._task = Task(wanted.agent, wanted.environment)
        self._begun: dict[int, str] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def go(self, console: Console, *, resume: bool) -> int:
        """All of it; gives how many rows failed."""
        self._read_notes(resume)
        rows = list(self._rows())
        if not rows:
            raise BadInput(f"there are no rows for {self._out}")
        lines: dict[int, dict[str, Any]] = {}
        with client_of(self._server) as client, ThreadPoolExecutor(self._wanted.at_once) as pool:
            self._task = resolved(client, self._task)
            try:
                self._watch(console, pool, client, rows, lines)
            except BaseException:
                self._stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        self._write(lines)
        bad = sum(not line["ok"] for line in lines.values())
        cost = sum(line["cost_nanodollars"] for line in lines.values())
        told = f", [red]{bad} failed[/red]" if bad else ", none failed"
        where = escape(str(self._out))
        console.print(f"[bold]{len(rows) - bad} sessions done[/bold]{told}, {dollars(cost)}, in {where}")
        self._notes.unlink(missing_ok=True)
        return bad

    def _watch(
        self, console: Console, pool: ThreadPoolExecutor, client: Any, rows: list[Row], lines: dict[int, dict[str, Any]]
    ) -> None:
        columns = (
            TextColumn("[bold]sessions"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
        )
        open_: set[Future[tuple[int, dict[str, Any]]]] = {
            pool.submit(self._row, client, index, row) for index, row in enumerate(rows)
        }
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("sessions", total=len(rows), told="")
            while open_:
                ended, open_ = wait(open_, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                lines.update(one.result() for one in ended)
                failed = sum(not line["ok"] for line in lines.values())
                cost = sum(line["cost_nanodollars"] for line in lines.values())
                told = f"{failed} failed · {dollars(cost)}" if failed else dollars(cost)
                bar.update(task, completed=len(lines), told=told)

    def _row(self, client: Any, index: int, row: Row) -> tuple[int, dict[str, Any]]:
        line: dict[str, Any] = {"name": row.name, "ok": False}
        try:
            session_id = self._begun.get(index) or self._begin(client, index, row)
            line["session"] = session_id
            line |= self._ended(client, session_id)
        except (NoServer, APIConnectionError):
            raise  # what was begun goes on without us, and --resume looks at it again
        except FreeholdError as error:
            line["error"] = error.message
        except APIError as error:
            line["error"] = str(error.message)
        line.setdefault("cost_nanodollars", 0)
        return index, line

    def _begin(self, client: Any, index: int, row: Row) -> str:
        text = self._plan.filled(row)
        made: str = begin(client, replace(self._task, title=row.name[:60])).id
        if self._wanted.row_dollars is not None:
            limit = round(self._wanted.row_dollars * 100 * NANODOLLARS_PER_CENT)
            self._server.post("/freehold/v1/budgets", {"scope": "session", "scope_id": made, "limit": limit})
        content = [{"type": "text", "text": text}]
        client.beta.sessions.events.send(made, events=[{"type": "user.message", "content": content}])
        with self._lock:
            self._begun[index] = made
            self._write_notes()
        return made

    def _ended(self, client: Any, session_id: str) -> dict[str, Any]:
        """Wait until it is idle; what it said last, and what it cost."""
        while client.beta.sessions.retrieve(session_id).status in _WAITING:
            if self._stopped.wait(_POLL_S):
                raise Refused("broken off")
        words, why, problem = "", "terminated", None
        for event in client.beta.sessions.events.list(session_id, order="desc", limit=100):
            if event.type == "session.status_idle" and why == "terminated":
                why = event.stop_reason.type
            if event.type == "session.error" and problem is None:
                problem = event.error.message
            if event.type == "agent.message":
                words = "".join(block.text for block in event.content if block.type == "text")
                break
        cost = self._server.get("/freehold/v1/bill", {"session_id": session_id})["total"]["cost_nanodollars"]
        wrong = problem if why != "end_turn" and problem else None if why == "end_turn" else f"stopped by {why}"
        wrong = wrong or self._plan.wrong(words)
        found: dict[str, Any] = {"ok": wrong is None, "text": words, "cost_nanodollars": cost}
        return found if wrong is None else {**found, "error": wrong}

    def _write(self, lines: dict[int, dict[str, Any]]) -> None:
        fresh = self._out.with_name(self._out.name + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            for index in sorted(lines):
                file.write(json.dumps(lines[index], ensure_ascii=False) + "\n")
        fresh.replace(self._out)

    def _read_notes(self, resume: bool) -> None:
        if not resume:
            self._notes.unlink(missing_ok=True)
            return
        try:
            found = json.loads(self._notes.read_text("utf-8"))
            self._begun = {int(index): str(session) for index, session in found.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise CannotResume(f"{self._notes} cannot be read ({error}). Leave --resume out.") from error

    def _write_notes(self) -> None:
        with contextlib.suppress(OSError):
            fresh = self._notes.with_name(self._notes.name + ".new")
            fresh.write_text(json.dumps(self._begun), "utf-8")
            fresh.replace(self._notes)
