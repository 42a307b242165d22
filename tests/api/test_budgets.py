"""`/freehold/v1/budgets` over HTTP: made, changed, shown, ended; lost calls listed and released."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from freehold.access.keys import Keys
from freehold.api import budgets
from freehold.api.base import application
from freehold.clock import SystemClock
from freehold.errors import FreeholdError
from freehold.inprocess import AsgiTransport
from freehold.store.engine import Store
from tests.ledger.kit import WORKSPACE, Kit, make_workspace, opened

PATH = "/freehold/v1/budgets"


@asynccontextmanager
async def serving(store: Store, folder: Path) -> AsyncIterator[tuple[httpx2.AsyncClient, Kit]]:
    await make_workspace(store)
    keys = await Keys.open(store, clock=SystemClock())
    secret = (await keys.create(WORKSPACE, "admin", "admin")).secret
    async with opened(store, folder) as kit:
        app = application(budgets.routes(kit.budgets), keys=keys, clock=SystemClock())
        transport = AsgiTransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x", headers={"x-api-key": secret}) as http:
            yield http, kit
    await keys.close()


async def test_a_budget_is_made_changed_shown_and_ended(store: Store, tmp_path: Path) -> None:
    async with serving(store, tmp_path / "ledger") as (http, kit):
        made = (await http.post(PATH, json={"scope": "workspace", "limit": 10**9, "period": "day"})).json()
        assert made["id"].startswith("bdgt_") and made["resets_at"] is not None
        changed = (await http.post(PATH, json={"scope": "workspace", "limit": 2 * 10**9, "period": "day"})).json()
        assert (changed["id"], changed["limit"]) == (made["id"], 2 * 10**9)
        await kit.ask()
        (account,) = (await http.get(f"{PATH}/{made['id']}")).json()["accounts"]
        assert account["settled"] > 0 and account["reserved"] == account["overrun"] == 0
        assert account["remaining"] == 2 * 10**9 - account["settled"]
        assert [one["id"] for one in (await http.get(PATH)).json()["data"]] == [made["id"]]
        ended = (await http.post(f"{PATH}/{made['id']}/archive")).json()
        assert ended["archived_at"] is not None
        assert (await http.get(PATH)).json()["data"] == []


async def test_a_lost_call_is_listed_and_can_be_released_once(store: Store, tmp_path: Path) -> None:
    async with serving(store, tmp_path / "ledger") as (http, kit):
        made = (await http.post(PATH, json={"scope": "workspace", "limit": 10**9})).json()
        with pytest.raises(FreeholdError):
            await kit.ask(headers=[(b"x-freehold-fault", b"reset; after=-1")])
        own = f"{PATH}/{made['id']}"
        (account,) = (await http.get(own)).json()["accounts"]
        (lost,) = (await http.get(f"{own}/lost_calls")).json()["data"]
        assert lost["state"] == "possibly_billed" and lost["amount"] == account["possibly_billed"] > 0
        freed = await http.post(f"{own}/lost_calls/{lost['request_id']}/release")
        assert freed.json()["amount"] == lost["amount"]
        assert (await http.post(f"{own}/lost_calls/{lost['request_id']}/release")).status_code == 404
        (account,) = (await http.get(own)).json()["accounts"]
        assert account["reserved"] == account["possibly_billed"] == 0


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"scope": "workspace"}, 400, "limit: is required"),
        ({"scope": "planet", "limit": 1}, 400, "scope: must be one of"),
        ({"scope": "workspace", "limit": -1}, 400, "limit"),
        ({"scope": "workspace", "limit": 1 << 60}, 400, "limit"),
        ({"scope": "workspace", "limit": 1, "unit": "euros"}, 400, "unit: must be one of"),
        ({"scope": "workspace", "limit": 1, "period": "week"}, 400, "period: must be one of"),
        ({"scope": "workspace", "limit": 1, "timezone": "Mars/Base"}, 400, "timezone"),
        ({"scope": "workspace", "limit": 1, "scope_id": "x"}, 400, "scope_id"),
        ({"scope": "organization", "limit": 1, "workspace_id": WORKSPACE}, 400, "belongs to no workspace"),
        ({"scope": "user", "limit": 1, "scope_id": "a\0b"}, 400, "scope_id"),
        ({"scope": "workspace", "limit": 1, "colour": "red"}, 400, "colour"),
        ({"scope": "key", "limit": 1, "scope_id": "apikey_none"}, 404, "no key apikey_none"),
        ({"scope": "workspace", "limit": 1, "workspace_id": "wrkspc_none"}, 404, "no workspace wrkspc_none"),
    ],
)
async def test_what_is_no_budget_is_refused_and_the_answer_names_it(
    store: Store, tmp_path: Path, body: dict[str, Any], status: int, said: str
) -> None:
    async with serving(store, tmp_path / "ledger") as (http, _):
        reply = await http.post(PATH, json=body)
        assert reply.status_code == status and said in reply.json()["error"]["message"]
