"""One user for each session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from freehold.environments import users
from freehold.environments.base import BoxFailed
from freehold.environments.workdirs import Workdir

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@as_root
def test_each_session_has_its_own_user_and_keeps_it(tmp_path: Path) -> None:
    first, second = Workdir(tmp_path / "sesn_1"), Workdir(tmp_path / "sesn_2")
    assert users.user_of(first) == users.FIRST_UID
    assert users.user_of(second) == users.FIRST_UID + 1
    assert users.user_of(Workdir(tmp_path / "sesn_1")) == users.FIRST_UID


def test_a_small_namespace_gives_small_numbers() -> None:
    assert users._range("         0          0 4294967295\n") == (users.FIRST_UID, 2**31 - 1)
    assert users._range("0 100000 65536\n") == (20_000, 65_535)


def test_a_namespace_of_one_user_is_refused() -> None:
    with pytest.raises(BoxFailed, match="too few users"):
        users._range("0 1000 1\n")


@as_root
def test_numbers_run_out_with_a_message(tmp_path: Path) -> None:
    (tmp_path / ".next-user").write_text(str(2**31))
    with pytest.raises(BoxFailed, match="no user number is left"):
        users.user_of(Workdir(tmp_path / "sesn_1"))
