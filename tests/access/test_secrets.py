"""Secrets at rest."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from freehold.access.secrets import Secrets, SecretSettings, secret_key
from freehold.access.workspaces import Workspaces
from freehold.clock import SystemClock
from freehold.errors import Misconfigured
from freehold.store.engine import Store
from freehold.store.tables import sealed_secrets

KEY = bytes(range(32))


@pytest.fixture
def secrets(store: Store) -> Secrets:
    """With a fixed key."""
    return Secrets(store, KEY, clock=SystemClock())


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_what_is_sealed_opens_only_for_its_workspace_name_and_key(secrets: Secrets, store: Store) -> None:
    @given(st.binary(max_size=500), st.text(max_size=20), st.text(max_size=20), st.integers(0, 10_000))
    def holds(secret: bytes, workspace: str, name: str, position: int) -> None:
        sealed = secrets.seal(workspace, name, secret)
        assert secrets.open(workspace, name, sealed) == secret
        assert sealed != secrets.seal(workspace, name, secret)
        broken = bytearray(sealed)
        broken[position % len(sealed)] ^= 1
        for wrong in (
            (workspace + "x", name, sealed),
            (workspace, name + "x", sealed),
            (workspace, name, bytes(broken)),
        ):
            with pytest.raises(Misconfigured):
                secrets.open(*wrong)
        with pytest.raises(Misconfigured, match="FREEHOLD_SECRET_KEY"):
            Secrets(store, bytes(32), clock=SystemClock()).open(workspace, name, sealed)

    holds()


async def test_a_secret_is_kept_sealed_and_can_be_replaced_and_removed(secrets: Secrets, store: Store) -> None:
    workspace = await Workspaces(store, clock=SystemClock()).create("one")
    await secrets.put(workspace.id, "token", b"first")
    await secrets.put(workspace.id, "token", b"hunter2 hunter2")
    assert await secrets.get(workspace.id, "token") == b"hunter2 hunter2"
    assert await secrets.get(workspace.id, "other") is None
    async with store.read() as conn:
        kept = (await conn.execute(select(sealed_secrets.c.sealed))).scalars().all()
    assert len(kept) == 1
    assert b"hunter2" not in kept[0]
    assert await secrets.remove(workspace.id, "token") is True
    assert await secrets.remove(workspace.id, "token") is False
    assert await secrets.get(workspace.id, "token") is None


def test_the_key_is_made_once_and_kept_for_its_owner(tmp_path: Path) -> None:
    first = secret_key(SecretSettings(), tmp_path)
    assert len(first) == 32
    assert secret_key(SecretSettings(), tmp_path) == first
    assert os.stat(tmp_path / "secret-key").st_mode & 0o777 == 0o600
    (tmp_path / "secret-key").chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        secret_key(SecretSettings(), tmp_path)


def test_the_operators_key_goes_before_the_file(tmp_path: Path) -> None:
    given_key = SecretSettings(base64.urlsafe_b64encode(b"\xff" * 32).decode())
    assert secret_key(given_key, tmp_path) == b"\xff" * 32
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["short", "!" * 44, base64.b64encode(b"x" * 31).decode(), "é" * 44])
def test_a_key_that_is_not_one_stops_the_start_and_is_not_repeated(text: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="32 bytes in base64") as refused:
        secret_key(SecretSettings(text), tmp_path)
    assert text not in str(refused.value)
