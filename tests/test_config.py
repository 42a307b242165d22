"""Settings from four places: which one wins, and what stops the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from freehold.config import Configuration, load, setting
from freehold.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Oven:
    """What the tests set."""

    heat: int = setting(180, "How hot.")
    minutes: float = setting(10.0, "How long.", unit="min")
    trays: int = setting(1, "How many.", least=1)
    fan: bool = setting(False, "Blow.")
    dish: str | None = setting(None, "What.")
    racks: tuple[str, ...] = setting((), "Which.")


def read(
    folder: Path, text: str = "", flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Configuration:
    file = folder / "oven.toml"
    file.write_text(text, "utf-8")
    return load([Oven], flags=flags, environment=environment, file=file, reserved=("FREEHOLD_CONFIG",))


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    read_ = read(
        tmp_path,
        "heat = 1\nminutes = 1\ntrays = 4",
        flags={"heat": 3, "fan": None},
        environment={"FREEHOLD_HEAT": "2", "FREEHOLD_MINUTES": "2.5", "FREEHOLD_CONFIG": "x", "HOME": "/"},
    )
    assert read_.section(Oven) == Oven(heat=3, minutes=2.5, trays=4)
    sources = {source.name: source.source for source in read_.sources}
    assert sources["heat"] == "flag --heat"
    assert sources["minutes"] == "environment FREEHOLD_MINUTES"
    assert sources["trays"] == f"file {tmp_path / 'oven.toml'}"
    assert sources["fan"] == "default"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("haet = 1", "there is no setting 'haet'. Did you mean 'heat'?"),
        ("[oven]\nheat = 1", "there is no setting 'oven'"),
        ("heat = ", "Invalid value"),
        ("heat = 1.5", "heat must be a whole number, not 1.5"),
        ("heat = true", "heat must be a whole number, not True"),
        ('heat = "hot"', "heat must be a whole number, not 'hot'"),
        ("heat = -1", "heat must be 0 or more, not -1"),
        ("trays = 0", "trays must be 1 or more, not 0"),
        ("minutes = -0.5", "minutes must be 0 or more, not -0.5"),
        ("minutes = nan", "minutes must be a number, not nan"),
        ("minutes = inf", "minutes must be a number, not inf"),
        ('fan = "maybe"', "fan must be true or false, not 'maybe'"),
        ("dish = 3", "dish must be text, not 3"),
        ("racks = [1]", "racks must be a list of texts, not [1]"),
    ],
)
def test_a_file_that_is_wrong_stops_the_start_and_says_where(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(Misconfigured) as stopped:
        read(tmp_path, text)
    assert told in stopped.value.message and "oven.toml" in stopped.value.message


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("FREEHOLD_HAET", "1", "there is no setting 'haet'"),
        ("FREEHOLD_HEAT", "hot", "environment FREEHOLD_HEAT: heat must be a whole number"),
        ("FREEHOLD_TRAYS", "-2", "environment FREEHOLD_TRAYS: trays must be 1 or more"),
        ("FREEHOLD_MINUTES", "nan", "minutes must be a number"),
    ],
)
def test_a_variable_that_is_wrong_stops_the_start_and_is_named(
    tmp_path: Path, variable: str, value: str, told: str
) -> None:
    with pytest.raises(Misconfigured) as stopped:
        read(tmp_path, environment={variable: value})
    assert told in stopped.value.message


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"none\.toml"):
        load([Oven], file=tmp_path / "none.toml")


def test_lists_come_from_the_environment_with_commas(tmp_path: Path) -> None:
    assert read(tmp_path, environment={"FREEHOLD_RACKS": "low,high"}).section(Oven).racks == ("low", "high")
    assert read(tmp_path, 'racks = ["low"]').section(Oven).racks == ("low",)
