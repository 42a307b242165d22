"""Everything that the console says has its Chinese words."""

from __future__ import annotations

import re
from importlib.resources import files

from freehold.console.words import ZH, translated

SAID = re.compile(r"""_\((["'])(.+?)\1\)""")


def test_every_word_of_a_template_has_its_chinese() -> None:
    folder = files("freehold.console").joinpath("templates")
    missing = {
        word
        for template in folder.iterdir()
        for _, word in SAID.findall(template.read_text("utf-8"))
        if word not in ZH and "~" not in word
    }
    assert missing == set()


def test_a_word_without_chinese_stays_as_it_is() -> None:
    assert translated("quux", "zh") == "quux"
    assert translated("Sessions", "en") == "Sessions"
