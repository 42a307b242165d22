"""What is kept of a command's output."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from freehold.environments.supervisor.output import Output


@given(st.lists(st.binary(max_size=50)), st.integers(2, 60))
def test_it_is_counted_whole_and_kept_within_the_limit(pieces: list[bytes], limit: int) -> None:
    output = Output(limit)
    for piece in pieces:
        output.add(piece)
    whole = b"".join(pieces)
    assert output.total == len(whole)
    if len(whole) <= limit // 2 * 2:
        assert "left out" not in output.text()
    else:
        assert f"of {len(whole)} bytes" in output.text()


@given(st.text(alphabet="abc\n", max_size=200), st.integers(1, 7))
def test_both_ends_are_kept_however_it_came(text: str, step: int) -> None:
    output = Output(40)
    for place in range(0, len(text), step):
        output.add(text[place : place + step].encode())
    said = output.text()
    if len(text) <= 40:
        assert said == text
    else:
        assert said.startswith(text[:20] + "\n[...")
        assert said.endswith("...]\n" + text[-20:])


def test_colours_and_titles_are_taken_out() -> None:
    output = Output(1000)
    output.add(b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain \x1b[2Kline")
    assert output.text() == "red plain line"
