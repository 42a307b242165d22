"""One run from its rows to its results: send, watch, judge, repeat what failed once, write, sum up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from freehold.cli.batch_run import notes, remote, screen
from freehold.cli.batch_run.inputs import Row
from freehold.cli.batch_run.notes import Notes
from freehold.cli.batch_run.plan import Plan, custom_id, index_of, requests, text_of
from freehold.cli.calling import Server


@dataclass(slots=True)
class Verdicts:
    """What the first round gave that has to be asked again: by index, the params of the second round."""

    again: dict[int, dict[str, Any]] = field(default_factory=dict)
    good: int = 0
    bad: int = 0
    output_tokens: list[int] = field(default_factory=list)


class Run:
    """One run. `rows` gives the same rows in the same order each time that it is called."""

    def __init__(self, server: Server, plan: Plan, rows: Callable[[], Iterator[Row]], out: Path) -> None:
        self._server = server
        self._plan = plan
        self._rows = rows
        self._out = out
        self._place = notes.place(out)

    def begin(self, *, resume: bool) -> Notes:
        """Notes of a new run, or those of the one that was broken off."""
        fingerprint = notes.fingerprint(requests(self._plan, self._rows()))
        if resume:
            return notes.read(self._out, fingerprint)
        made = Notes(fingerprint)
        made.write(self._place)
        return made

    def go(self, kept: Notes, console: Console) -> tuple[Verdicts, list[dict[str, Any]]]:
        """All of it; may be broken off at any moment and gone on with by the same notes."""
        if not kept.first_sent:
            self._send(kept, kept.first, requests(self._plan, self._rows()))
            kept.first_sent = True
            kept.write(self._place)
        seen = screen.watch(console, kept.first, self._look)
        verdicts = self._judge(kept.first)
        if verdicts.again and not kept.second_sent:
            console.print(f"{len(verdicts.again)} answers failed or did not fit; they are asked for once more.")
            self._send(kept, kept.second, ((custom_id(i), params) for i, params in sorted(verdicts.again.items())))
            kept.second_sent = True
            kept.write(self._place)
        if kept.second:
            seen += screen.watch(console, kept.second, self._look)
        final = self._write(kept)
        self._place.unlink(missing_ok=True)
        return final, seen

    def _look(self, batch_id: str) -> dict[str, Any]:
        return remote.progress(self._server, batch_id)

    def _send(self, kept: Notes, ids: list[str], made: Iterator[tuple[str, dict[str, Any]]]) -> None:
        sent = set(ids)
        if sent:  # broken off between two batches: what has arrived is asked for no more
            done = sum(self._look(one)["total"] for one in ids)
            for _ in range(done):
                next(made, None)
        for batch in remote.send(self._server, made):
            ids.append(batch["id"])
            kept.write(self._place)

    def _judge(self, ids: list[str]) -> Verdicts:
        """What of the first round has to be asked again. Needs only the failures in memory."""
        verdicts = Verdicts()
        wrong: dict[int, str | None] = {}
        for result in self._results(ids):
            problem, text, _ = self._verdict(result)
            if problem is not None:
                wrong[index_of(result["custom_id"])] = text
        for index, (_, params) in enumerate(requests(self._plan, self._rows())):
            if index in wrong:
                text = wrong[index]
                long = text is not None and self._plan.is_too_long(text)
                verdicts.again[index] = self._plan.shorter(params, text) if long and text is not None else params
        return verdicts

    def _write(self, kept: Notes) -> Verdicts:
        """The results, joined to the names of their rows, in the order of the rows."""
        second = {result["custom_id"]: result for result in self._results(kept.second)}
        final = Verdicts()
        fresh = self._out.with_name(self._out.name + ".new")
        with fresh.open("w", encoding="utf-8") as file:
            for row, result in zip(self._rows(), self._results(kept.first), strict=True):
                better = second.get(result["custom_id"])
                problem, _, _ = self._verdict(result)
                self._line(file, row, better if problem is not None and better is not None else result, final)
        fresh.replace(self._out)
        return final

    def _line(self, file: IO[str], row: Row, result: dict[str, Any], final: Verdicts) -> None:
        problem, text, usage = self._verdict(result)
        line: dict[str, Any] = {"name": row.name, "ok": problem is None}
        if text is not None:
            line["text"] = text
            if self._plan.schema is not None and problem is None:
                line["json"] = json.loads(text)
        if problem is not None:
            line["error"] = problem
        if usage:
            line["usage"] = {name: usage[name] for name in ("input_tokens", "output_tokens")}
            final.output_tokens.append(usage["output_tokens"])
        final.good += problem is None
        final.bad += problem is not None
        file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _verdict(self, result: dict[str, Any]) -> tuple[str | None, str | None, dict[str, Any]]:
        """What is wrong with it (`None`: nothing), its text, its usage."""
        got = result["result"]
        if got["type"] != "succeeded":
            error = got.get("error", {}).get("error", {})
            return error.get("message", got["type"]), None, {}
        message = got["message"]
        text = text_of(message)
        wrong = self._plan.wrong(text)
        if message["stop_reason"] in ("max_tokens", "refusal"):
            wrong = wrong or f"stopped by {message['stop_reason']}"
        return wrong, text, message["usage"]

    def _results(self, ids: list[str]) -> Iterator[dict[str, Any]]:
        for one in ids:
            yield from remote.results(self._server, one)
