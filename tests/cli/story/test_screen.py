"""The story on a terminal of 80 columns, or fewer, with or without colour."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console

from freehold.cli.story.screen import Screen

CHINESE = "它没有自己的知识，但会调用给它的工具、运行代码块、读写文件，并如实报告结果。" * 3
ENGLISH = "It has no knowledge of its own, but it calls the tools that it is given, and reports. " * 3


def screen(width: int = 80, *, colour: bool = False) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour, no_color=not colour, highlight=False)
    return Screen(console), out


def fill(shown: Screen) -> None:
    shown.title("Freehold", "on the simulator")
    shown.chapter(1, "A chapter " * 12)
    shown.fact("you", CHINESE)
    shown.fact("claude", ENGLISH)
    shown.speak("claude", [CHINESE[:10], CHINESE[10:], " ", ENGLISH, "x" * 300, "\nand a new line"])
    shown.event(1.5, "agent.mcp_tool_result", CHINESE)
    shown.lines(["| a | long row |" * 10])
    shown.table(("model", "calls"), [["claude-haiku-5-5", "3"], ["all", "3"]])


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in (80, 60, 200):
        shown, out = screen(width)
        fill(shown)
        assert max(cell_len(line) for line in out.getvalue().splitlines()) <= min(80, width)


def test_without_colour_there_is_no_escape_sequence() -> None:
    shown, out = screen()
    fill(shown)
    assert "\x1b" not in out.getvalue()
    coloured, out = screen(colour=True)
    fill(coloured)
    assert "\x1b[" in out.getvalue()


def test_speech_is_whole_whatever_pieces_it_comes_in() -> None:
    text = ENGLISH + CHINESE
    for size in (1, 3, 1000):
        shown, out = screen()
        shown.speak("claude", [text[at : at + size] for at in range(0, len(text), size)])
        told = out.getvalue().replace("claude", "", 1)
        assert "".join(told.split()) == "".join(text.split())


def test_speech_is_on_the_screen_before_it_ends() -> None:
    shown, out = screen()
    seen: list[str] = []

    def watched() -> Iterator[str]:
        for part in ("one ", "two ", "three"):
            yield part
            seen.append(out.getvalue())

    shown.speak("claude", watched())
    assert "one" in seen[0]
    assert "two" in seen[1]


def test_markup_in_what_is_said_is_only_text() -> None:
    shown, out = screen()
    shown.fact("you", "[bold]not bold[/bold] [/nothing]")
    shown.speak("claude", ["[red]plain[/red]"])
    shown.event(0, "agent.message", "[link=x]y[/link]")
    assert "[bold]not bold[/bold] [/nothing]" in out.getvalue()
    assert "[red]plain[/red]" in out.getvalue()
    assert "[link=x]y[/link]" in out.getvalue()


def test_a_long_speech_can_be_cut_short_and_says_so() -> None:
    shown, out = screen()
    shown.speak("claude", ["one\ntwo\n", "three\nfo", "ur\nfive"], most_lines=3)
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert lines == ["claude      one", "two", "three", "… (2 more lines)"]


def test_indented_lines_keep_their_indentation_and_nothing_trails() -> None:
    shown, out = screen()
    shown.speak("", ["{\n  'a': 1,\n\n  'b': 2   \n}"])
    shown.event(1, "session.status_running", "")
    shown.lines(["", "x "])
    assert "\n                 'a': 1,\n" in out.getvalue()
    assert not [line for line in out.getvalue().splitlines() if line != line.rstrip()]


def test_commands_to_copy_are_never_cut() -> None:
    shown, out = screen(60)
    shown.commands(["export KEY=$(cat " + "x" * 100 + ")"])
    assert "x" * 100 + ")\n" in out.getvalue()
