"""One run from its rows to its results: send, watch, judge, repeat what failed once, write, sum up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rich.console import Console

from freehold.cli.batch_run import earlier, notes, remote, screen
from freehold.cli.batch_run.inputs import Row
from freehold.cli.batch_run.notes import Notes
from freehold.cli.batch_run.plan import Plan, custom_id, index_of, requests, text_of
from freehold.cli.calling import Server

_FINAL = ("invalid_request_error", "authentication_error", "not_found_error", "permission_error", "request_too_large")


@dataclass(slots=True)
class Verdicts:
    """What the first round gave that has to be asked again: by index, the params of the second round."""

    again: dict[int, dict[str, Any]] = field(default_factory=dict)
    good: int = 0
    bad: int = 0
    wrong: dict[str, list[str]] = field(default_factory=dict)
    """What went wrong, the first words of each problem, and with which rows."""

    def reasons(self, most: int = 5) -> list[str]:
        """The commonest problems, in words."""
        worst = sorted(self.wrong.items(), key=lambda one: -len(one[1]))[:most]
        return [f"{len(names)} × {problem} ({_some(names)})" for problem, names in worst]


class Run:
    """One run. `rows` gives the same rows in the same order each time that it is called."""

    def __init__(
        self, server: Server, plan: Plan, rows: Callable[[], Iterator[Row]], out: Path, *, only_failed: bool = False
    ) -> None:
        self._server = server
        self._plan = plan
        self._rows = rows
        self._out = out
        self._place = notes.place(out)
        self._done = earlier.good(out) if only_failed else frozenset[int]()
        """Rows that have a good answer already and are not asked for again."""

    def asked(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(custom_id, params) of the first round."""
        for index, (identity, params) in enumerate(requests(self._plan, self._rows())):
            if index not in self._done:
                yield identity, params

    def give_up(self) -> None:
        """Nothing was sent, and nothing will be."""
        self._place.unlink(missing_ok=True)

    def begin(self, *, resume: bool) -> Notes:
        """Notes of a new run, or those of the one that was broken off."""
        fingerprint = notes.fingerprint(self.asked())
        if resume:
            return notes.read(self._out, fingerprint)
        made = Notes(fingerprint)
        made.write(self._place)
        return made

    def go(self, kept: Notes, console: Console) -> Verdicts:
        """All of it; may be broken off at any moment and gone on with by the same notes."""
        if not kept.first_sent:
            self._send(kept, kept.first, self.asked())
            kept.first_sent = True
            kept.write(self._place)
        screen.watch(console, kept.first, self._look)
        verdicts = self._judge(kept.first)
        if verdicts.again and not kept.second_sent:
            console.print(f"{len(verdicts.again):,} answers failed or did not fit; they are asked for once more.")
            self._send(kept, kept.second, ((custom_id(i), params) for i, params in sorted(verdicts.again.items())))
            kept.second_sent = True
            kept.write(self._place)
        if kept.second:
            screen.watch(console, kept.second, self._look)
        final = self._write(kept)
        self._place.unlink(missing_ok=True)
        return final

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
            if problem is not None and not _is_final(result):
                wrong[index_of(result["custom_id"])] = text
        for identity, params in self.asked() if wrong else ():
            index = index_of(identity)
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
        results = self._results(kept.first)
        with fresh.open("w", encoding="utf-8") as file:
            old = earlier.lines(self._out) if self._done else iter(())
            for index, row in enumerate(self._rows()):
                before = next(old, None)
                if index in self._done and before is not None:
                    file.write(before)
                    final.good += 1
                    continue
                result = next(results)
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
            final.wrong.setdefault(problem[:100], []).append(row.name)
        if usage:
            line["usage"] = {name: usage[name] for name in ("input_tokens", "output_tokens")}
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


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _is_final(result: dict[str, Any]) -> bool:
    """The request itself was refused: it would be again."""
    return result["result"].get("error", {}).get("error", {}).get("type") in _FINAL
