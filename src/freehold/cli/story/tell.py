"""The story from beginning to end: a server, a conversation, an agent at work, a crash, the bill.

It uses the server only as a stranger would: the command `freehold serve`, the official SDK, one key.
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.cli.story.bill import COLUMNS, Meter
from freehold.cli.story.screen import Screen
from freehold.cli.story.work import Turn, WentWrong, Work
from freehold.errors import FreeholdError
from freehold.launch import ServerProcess

if TYPE_CHECKING:
    from anthropic import Anthropic, APIError

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
head -5 summary.json
```
"""
_OWN_TOOLS = {"find_user", "list_orders", "recent_activity"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to tell: with the toolbox and scripts in `files`, keeping everything in `data`.

    `upstream` is as for `freehold serve`. `most_nanodollars` stops the story when the bill gets there; `None` on the
    simulator, where nothing is really paid, and where the agent must call exactly the tools that the story names.
    """

    files: Path
    data: Path
    upstream: str = "simulator"
    most_nanodollars: int | None = None

    @property
    def toolbox(self) -> Path:
        """The tools file."""
        return self.files / "company.py"

    @property
    def live(self) -> bool:
        """Whether real money is spent."""
        return self.most_nanodollars is not None


def tell(plan: Plan) -> None:
    """Tell the whole story; takes under 20 seconds on the simulator.

    Raises:
        FreeholdError: something did not go as told; the message says what to do.
    """
    screen = Screen()
    screen.title(
        "Freehold: the main job, end to end", "on Claude" if plan.live else "on the simulator: no key, no network"
    )
    plan.data.mkdir(parents=True, exist_ok=True)
    server = ServerProcess(
        plan.data,
        tools=[plan.toolbox],
        arguments=["--upstream", plan.upstream],
        environment={"COMPANY_DB": str((plan.data / "company.db").resolve())},
    )
    try:
        _Story(plan, screen, server).tell()
    finally:
        server.stop()


class _Story:
    def __init__(self, plan: Plan, screen: Screen, server: ServerProcess) -> None:
        self._plan = plan
        self._screen = screen
        self._server = server

    def tell(self) -> None:
        began = time.monotonic()
        self._open()
        import anthropic  # a second of imports that the server's start need not wait for

        try:
            with anthropic.Anthropic(base_url=self._server.address, api_key=self._server.key, max_retries=1) as client:
                meter = Meter(client, self._plan.most_nanodollars)
                try:
                    self._talk(client, meter)
                    work = Work(client, self._screen, meter)
                    self._work(work)
                    self._crash(work)
                finally:
                    self._bill(meter, time.monotonic() - began)
        except anthropic.APIError as error:
            raise FreeholdError(f"{_told(error)}\nThe server said:\n{self._server.output}") from error
        self._next()

    def _open(self) -> None:
        self._screen.chapter(1, "A server of your own")
        options = f"--port 0 --tools {self._plan.toolbox.name} --data {_short(self._plan.data)}"
        self._screen.fact("run", f"freehold serve {options}")
        began = time.monotonic()
        address = self._server.start()
        self._screen.fact("ready", f"at {address} after {time.monotonic() - began:.1f} s")
        self._screen.fact("client", "Anthropic(base_url=…, api_key=…): the official SDK, nothing else", "dim")

    def _talk(self, client: Anthropic, meter: Meter) -> None:
        from freehold.cli.story.talk import talk

        self._screen.chapter(2, "A conversation, streamed")
        talk(client, self._screen, meter)

    def _work(self, work: Work) -> None:
        screen = self._screen
        screen.chapter(3, "An agent with a box, your data and your own tools")
        work.prepare(_orders(self._plan))
        screen.chapter(4, "One turn: Python in the box, three of your functions in parallel")
        script = (self._plan.files / "analyse.py").read_text("utf-8")
        screen.fact("you", CHINESE.split("\n", 1)[0], "bold")
        screen.fact("", f"(and analyse.py, {script.count(chr(10))} lines, as a block of bash)", "dim")
        self._expect(work.turn(CHINESE.format(script=script)), {"bash", *_OWN_TOOLS})
        for name, text in work.outputs():
            screen.fact("made", f"{name}, downloaded through the Files API:")
            screen.lines(text.strip().splitlines())
        screen.chapter(5, "The same tools, asked in English")
        screen.fact("you", ENGLISH, "bold")
        self._expect(work.turn(ENGLISH), _OWN_TOOLS)

    def _crash(self, work: Work) -> None:
        screen = self._screen
        screen.chapter(6, "kill -9, and on it goes")
        before = work.events()
        screen.fact("kill -9", f"{self._server.pid}  (no warning, no clean-up)", "bold red")
        self._server.kill()
        began = time.monotonic()
        self._server.start()
        after = work.events()
        if after != before:
            raise WentWrong(f"the log has {len(after)} events after the restart; it had {len(before)}")
        screen.fact(
            "ready", f"again after {time.monotonic() - began:.1f} s; all {len(after)} events of the log are there"
        )
        screen.fact("you", READ_BACK.split("\n", 1)[0], "bold")
        self._expect(work.turn(READ_BACK), {"bash"})

    def _bill(self, meter: Meter, passed_s: float) -> None:
        self._screen.chapter(7, "The bill, from the server's own records")
        self._screen.table(COLUMNS, meter.read().rows())
        self._screen.fact("", f"{passed_s:.1f} s from the first command to here", "dim")

    def _next(self) -> None:
        screen, plan, address = self._screen, self._plan, self._server.address
        screen.chapter(8, f"{address}, and three things to try next")
        screen.fact("1", "Bring this server back, with everything in it:")
        screen.commands(
            [
                f"{_command('freehold')} serve --port {address.rsplit(':', 1)[1]} \\",
                f"  --tools {_short(plan.toolbox)} --data {_short(plan.data)}",
            ]
        )
        screen.fact("2", "Then point any official Anthropic SDK at it:")
        screen.commands(
            [
                f"export ANTHROPIC_BASE_URL={address}",
                f"export ANTHROPIC_API_KEY=$(cat {_short(plan.data / 'admin-key')})",
                f"{_command('python')} {_short(plan.files.parent / 'hello_messages.py')}",
            ]
        )
        screen.fact("3", "The same story on Claude itself, for less than $0.25:")
        screen.commands([f"ANTHROPIC_API_KEY=… {_command('freehold')} demo --live"])

    def _expect(self, turn: Turn, tools: set[str]) -> None:
        """What must have happened. A real model may choose other tools, and mend what failed by itself."""
        if turn.failed and not self._plan.live:
            hint = " `freehold doctor` says what the box lacks." if "bash" in turn.tools else ""
            raise WentWrong(f"a tool failed: {turn.failed[0]}{hint}")
        if turn.stop_reason != "end_turn":
            raise WentWrong(f"the turn ended with {turn.stop_reason}")
        if not self._plan.live and (missing := tools - set(turn.tools)):
            raise WentWrong(f"the agent did not call {', '.join(sorted(missing))}")


def _orders(plan: Plan) -> Path:
    made = plan.data / "orders.csv"
    runpy.run_path(str(plan.files / "make_orders.py"))["write"](made)
    return made


def _told(error: APIError) -> str:
    """The message of the API's own envelope, where there is one."""
    body = error.body
    inner = body.get("error") if isinstance(body, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else None
    return f"{type(error).__name__}: {message or error}"


def _command(name: str) -> str:
    """How to call a program of this installation from here: by its name only if the shell would find this very one."""
    mine = Path(sys.executable).parent / name
    found = shutil.which(name)
    return name if found and Path(found) == mine else _short(mine)


def _short(path: Path) -> str:
    """The path as one would type it from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
