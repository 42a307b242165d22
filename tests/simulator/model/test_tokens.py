"""The tokenizer: loses nothing, is additive, and is near the real one in size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from freehold.simulator.model import tokens


@given(st.text())
def test_the_pieces_make_the_text_again(text: str) -> None:
    assert "".join(tokens.pieces(text)) == text


@given(st.text(), st.integers(0, 50), st.sampled_from([100, 130]))
def test_a_cut_has_at_most_so_many_tokens_and_is_a_beginning(text: str, most: int, percent: int) -> None:
    cut = tokens.cut(text, most, percent)
    assert text.startswith(cut) and tokens.count(cut, percent) <= most
    assert cut == text or tokens.count(cut, percent) >= most - 1


@given(st.integers(0, 10**6), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=50))
def test_the_deviation_is_at_most_three_percent_and_always_the_same(number: int, seed: int, body: bytes) -> None:
    counted = tokens.deviate(number, seed, body)
    assert counted == tokens.deviate(number, seed, body)
    assert abs(counted - number) <= max(1, number * 0.03 + 0.5)


def test_english_has_about_four_characters_a_token_and_chinese_about_one() -> None:
    english = "The committee agreed to review the proposal again before the end of the quarter. " * 20
    assert 3.5 <= len(english) / tokens.count(english) <= 6
    chinese = "委员会同意在本季度结束之前再次审查该提案。" * 20
    assert 0.6 <= len(chinese) / tokens.count(chinese) <= 1.6
