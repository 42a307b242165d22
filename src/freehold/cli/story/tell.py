"""The story from beginning to end: a server, a conversation, an agent at work, a crash, the bill.

It uses the server only as a stranger would: the command `freehold serve`, the official SDK, one key.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.cli.story.bill import COLUMNS, Meter
from freehold.cli.story.screen import Screen
from freehold.cli.story.work import Turn, WentWrong
from freehold.errors import FreeholdError
from freehold.launch import ServerProcess
from freehold.money import NANODOLLARS_PER_CENT

if TYPE_CHECKING:
    from anthropic import APIError

    from freehold.cli.story.work import Work

LIVE_LIMIT_NANODOLLARS = 25 * NANODOLLARS_PER_CENT
CHINESE = """\
请运行下面的脚本分析 orders.csv；同时查询用户 1042 的资料、订单和最近活动。最后用两句话汇报。

```bash
cat > analyse.py <<'PY'
{script}PY
python3 analyse.py
```
"""
ENGLISH = "Now look up user 1007: the user's profile, the orders, and the recent activity. Report in two sentences."
READ_BACK = """\
What did your analysis find? Read it from the file that you saved:

```bash
ls -l
head -c 300 summary.json
```
"""


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of the demo: `files` with the toolbox and scripts, `data` for this run."""

    files: Path
    data: Path

    @property
    def toolbox(self) -> Path:
        """The tools file."""
        return self.files / "company.py"


def tell(places: Places, *, live: bool) -> None:
    """Tell the whole story; takes under 20 seconds on the simulator.

    Raises:
        FreeholdError: something did not go as told; the message says what to do.
    """
    screen = Screen()
    screen.title("Freehold: the main job, end to end", "on Claude" if live else "on the simulator: no key, no network")
    places.data.mkdir(parents=True, exist_ok=True)
    server = ServerProcess(
        places.data,
        tools=[places.toolbox],
        arguments=["--upstream", "claude" if live else "simulator"],
        environment={"COMPANY_DB": str(places.data / "company.db")},
    )
    try:
        _tell(screen, places, server, live)
    finally:
        server.stop()


def _tell(screen: Screen, places: Places, server: ServerProcess, live: bool) -> None:
    screen.chapter(1, "A server of your own")
    screen.fact("run", f"freehold serve --port 0 --tools {places.toolbox.name} --data {_short(places.data)}")
    began = time.monotonic()
    address = server.start()
    screen.fact("ready", f"at {address} after {time.monotonic() - began:.1f} s")
    screen.fact("client", "Anthropic(base_url=…, api_key=…): the official SDK, nothing else", "dim")

    import anthropic  # a second of imports that the server's own start has no need to wait for

    from freehold.cli.story.talk import talk
    from freehold.cli.story.work import Work

    try:
        with anthropic.Anthropic(base_url=address, api_key=server.key, max_retries=1) as client:
            meter = Meter(client, LIVE_LIMIT_NANODOLLARS if live else None)
            screen.chapter(2, "A conversation, streamed")
            talk(client, screen, meter)
            work = Work(client, screen, meter)
            _work(screen, places, work, live)
            _crash(screen, server, work)
            _bill(screen, meter, time.monotonic() - began)
    except anthropic.APIError as error:
        raise FreeholdError(f"{_told(error)}\nThe server said:\n{server.output}") from error
    _next(screen, places, server)


def _work(screen: Screen, places: Places, work: Work, live: bool) -> None:
    screen.chapter(3, "An agent with a box, your data and your own tools")
    work.prepare(_orders(places))
    screen.chapter(4, "One turn: Python in the box, three of your functions in parallel")
    script = (places.files / "analyse.py").read_text("utf-8")
    screen.fact("you", CHINESE.split("\n", 1)[0], "bold")
    screen.fact("", f"(and analyse.py, {script.count(chr(10))} lines, as a block of bash)", "dim")
    _expect(work.turn(CHINESE.format(script=script)), {"bash", "find_user", "list_orders", "recent_activity"}, live)
    for name, text in work.outputs():
        screen.fact("made", f"{name}, downloaded through the Files API:")
        screen.lines(text.strip().splitlines())
    screen.chapter(5, "The same in English")
    screen.fact("you", ENGLISH, "bold")
    _expect(work.turn(ENGLISH), {"find_user", "list_orders", "recent_activity"}, live)


def _crash(screen: Screen, server: ServerProcess, work: Work) -> None:
    screen.chapter(6, "kill -9, and on it goes")
    before = work.events()
    screen.fact("kill -9", f"{server.pid}  (no warning, no clean-up)", "bold red")
    server.kill()
    began = time.monotonic()
    server.start()
    after = work.events()
    if after != before:
        raise WentWrong(f"the log has {len(after)} events after the restart; it had {len(before)}")
    screen.fact("ready", f"again after {time.monotonic() - began:.1f} s; all {len(after)} events of the log are there")
    screen.fact("you", READ_BACK.split("\n", 1)[0], "bold")
    _expect(work.turn(READ_BACK), {"bash"}, live=False)


def _bill(screen: Screen, meter: Meter, passed_s: float) -> None:
    screen.chapter(7, "The bill, from the server's own records")
    bill = meter.read()
    screen.table(COLUMNS, bill.rows())
    screen.fact("", f"{passed_s:.1f} s from the first command to here", "dim")


def _next(screen: Screen, places: Places, server: ServerProcess) -> None:
    port = server.address.rsplit(":", 1)[1]
    screen.chapter(8, "Three things to try next")
    screen.fact("1", f"Bring this server back at {server.address}, with everything in it:")
    screen.lines(
        _wrapped(f"freehold serve --port {port} --tools {_short(places.toolbox)}", f"--data {_short(places.data)}")
    )
    screen.fact("2", "Then point any official Anthropic SDK at it:")
    screen.lines(
        [
            f"export ANTHROPIC_BASE_URL={server.address}",
            f"export ANTHROPIC_API_KEY=$(cat {_short(places.data / 'admin-key')})",
            f"python {_short(places.files.parent / 'hello_messages.py')}",
        ]
    )
    screen.fact("3", "The same story on Claude itself, for less than $0.25:")
    screen.lines(["export ANTHROPIC_API_KEY=…", "make demo LIVE=1"])


def _wrapped(first: str, rest: str) -> list[str]:
    return [first + " \\", "  " + rest]


def _orders(places: Places) -> Path:
    import runpy

    made = places.data / "orders.csv"
    runpy.run_path(str(places.files / "make_orders.py"))["write"](made)
    return made


def _told(error: APIError) -> str:
    """The message of the API's own envelope, where there is one."""
    body = error.body
    inner = body.get("error") if isinstance(body, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    return f"{type(error).__name__}: {message or error}"


def _expect(turn: Turn, tools: set[str], live: bool) -> None:
    """What must have happened; a real model may choose other tools, a failing one is told in every case."""
    if turn.failed:
        hint = " `freehold doctor` says what the box lacks." if "bash" in turn.tools else ""
        raise WentWrong(f"a tool failed: {turn.failed[0]}{hint}")
    if turn.stop_reason != "end_turn":
        raise WentWrong(f"the turn ended with {turn.stop_reason}")
    if not live and (missing := tools - set(turn.tools)):
        raise WentWrong(f"the agent did not call {', '.join(sorted(missing))}")


def _short(path: Path) -> str:
    """The path as one would type it from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
