"""The journal: what is left of a process, whether it is believed, and who may read it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.clock import SystemClock
from freehold.ledger.journal import MOST_ACCOUNTS, SLOT_BYTES, Journal, left_behind, marks
from freehold.ledger.ledger import LedgerSettings
from freehold.money import nanodollars
from freehold.store import ledger as rows
from freehold.store.engine import Store
from tests.ledger.kit import Kit, make_workspace, opened


def abandoned(journal: Journal) -> Path:
    """As a killed process leaves it: the file stays, the lock is gone."""
    journal.close(remove=False)
    return journal.path


def test_lines_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "hold_1.journal")
    money, both = marks([(1, False)]), marks([(1, False), (2, True)])
    first = journal.write("req_open", "claude-haiku-4-5", 7, both, 10, 20)
    second = journal.write("req_done", "m", 8, money, 30, 0)
    journal.finish(second, (25, 0), (5, 0))
    journal.batch([second], 4)
    third = journal.write("req_freed", "m", 9, money, 40, 0)
    journal.free([third])
    journal.rewrite(first, 11, 21)
    abandoned(journal)
    (remains,) = left_behind(tmp_path)
    lines = {line.request_id: line for line in remains.lines}
    remains.close(remove=True)
    assert set(lines) == {"req_open", "req_done"}
    assert (lines["req_open"].finished, lines["req_open"].model) == (False, "claude-haiku-4-5")
    assert lines["req_open"].accounts == ((1, 11, 0, 0), (2, 21, 0, 0))
    assert (lines["req_done"].batch, lines["req_done"].accounts) == (4, ((1, 30, 25, 5),))
    assert list(tmp_path.iterdir()) == []


def test_a_line_has_room_for_as_many_accounts_as_a_call_may_have(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "hold_1.journal")
    most = [(position, position % 2 == 0) for position in range(1, MOST_ACCOUNTS + 1)]
    slots = [journal.write("r" * 64, "m" * 64, 1, marks(most), 10, 20) for _ in range(2)]
    for slot in slots:
        journal.finish(slot, (1, 2), (3, 4))
    abandoned(journal)
    (remains,) = left_behind(tmp_path)
    told = tuple((position, 20, 2, 4) if in_tokens else (position, 10, 1, 3) for position, in_tokens in most)
    assert [line.accounts for line in remains.lines] == [told, told]
    assert all((line.request_id, line.model) == ("r" * 64, "m" * 64) for line in remains.lines)
    remains.close(remove=True)


def test_a_journal_whose_process_lives_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "hold_1.journal")
    assert list(left_behind(tmp_path)) == []
    abandoned(journal)
    (ours,) = left_behind(tmp_path)
    assert list(left_behind(tmp_path)) == [], "one reader at a time"
    ours.close(remove=False)


def test_it_grows_with_the_calls_that_are_open(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "hold_1.journal")
    slots = [journal.write(f"req_{number}", "m", 1, marks([(1, False)]), number, 0) for number in range(2_000)]
    assert journal.open_lines == len(set(slots)) == 2_000
    abandoned(journal)
    (remains,) = left_behind(tmp_path)
    assert sorted(line.accounts[0][1] for line in remains.lines) == list(range(2_000))
    remains.close(remove=True)


def test_a_knock_is_heard_by_the_other_processes_of_the_folder_and_harms_no_line(tmp_path: Path) -> None:
    one, other = Journal(tmp_path / "hold_1.journal"), Journal(tmp_path / "hold_2.journal")
    other.write("req_open", "m", 1, marks([(1, False)]), 10, 0)
    before, own = other.knocks, one.knocks
    one.knock()
    once = other.knocks
    one.knock()
    assert len({before, once, other.knocks}) == 3 and one.knocks == own
    abandoned(other)
    (remains,) = left_behind(tmp_path)
    assert remains.trusted and [line.request_id for line in remains.lines] == ["req_open"]
    remains.close(remove=True)
    one.knock()  # with nobody there
    one.close(remove=True)


async def test_who_holds_idle_escrow_is_asked_at_the_database_only_when_somebody_knocks(tmp_path: Path) -> None:
    """Two processes on one file: what one has drawn ahead and does not use goes to the call of the other."""
    stores = [await Store.open(f"sqlite:///{tmp_path / 'one.db'}", clock=SystemClock()) for _ in range(2)]
    await make_workspace(stores[0])
    settings = LedgerSettings(escrow_idle_s=600.0)
    folder = tmp_path / "ledger"
    async with opened(stores[0], folder, settings=settings) as first, opened(stores[1], folder) as second:
        await first.put(nanodollars("0.02"))
        await second.ledger.refresh()
        await first.ask()
        held = sum(purse.free for purse in first.ledger._purses.values())
        assert held > 0, "it draws ahead"
        looks = stores[0].looks
        await asyncio.sleep(0.5)
        assert stores[0].looks - looks <= 3, "nobody has knocked: besides the followers' second nobody looks"
        rest = nanodollars("0.02") - nanodollars("0.001")
        most = rest // 5_000 - 1_000  # of output, at 5 dollars a million: nearly all that is left
        await second.ask(max_tokens=most)
    for store in stores:
        await store.close()


def test_lines_of_another_form_are_not_believed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "hold_1.journal")
    journal.write("req_open", "m", 1, marks([(1, False)]), 10, 0)
    path = abandoned(journal)
    raw = bytearray(path.read_bytes())
    raw[36:40] = bytes(4)  # as it was before lines had a form
    path.write_bytes(raw)
    (remains,) = left_behind(tmp_path)
    assert (remains.trusted, remains.lines) == (False, [])
    remains.close(remove=True)


@pytest.fixture
async def dead(store: Store, tmp_path: Path) -> AsyncIterator[tuple[Kit, Path]]:
    """A process that died with one call open, and one that lives."""
    await make_workspace(store)
    folder = tmp_path / "ledger"
    async with opened(store, folder) as kit:
        await kit.put(nanodollars(1))
        async with opened(store, tmp_path / "other") as victim:
            call = victim.handler(victim.call())
            await call.__aenter__()
        (path,) = (tmp_path / "other").glob("*.journal")
        path.rename(folder / path.name)
        yield kit, folder / path.name


async def test_an_open_call_of_a_dead_process_is_possibly_billed(dead: tuple[Kit, Path]) -> None:
    kit, path = dead
    assert await kit.ledger.reconcile() == 1
    (account,) = await kit.sums()
    assert account.held == 0 and account.lost == account.escrowed > 0
    assert not path.exists()
    assert await kit.ledger.reconcile() == 0


async def test_after_another_boot_all_that_a_process_held_stays_reserved(dead: tuple[Kit, Path]) -> None:
    kit, path = dead
    raw = bytearray(path.read_bytes())
    raw[:36] = b"0" * 36
    raw[SLOT_BYTES:] = bytes(len(raw) - SLOT_BYTES)  # a power cut may have taken the lines
    path.write_bytes(raw)
    async with kit.store.read() as conn:
        (before,) = await rows.sums(conn)
    assert before.held > 0
    await kit.ledger.reconcile()
    (account,) = await kit.sums()
    assert account.held == 0 and account.lost == account.escrowed == before.held
    async with kit.store.read() as conn:
        budget = next(iter(kit.ledger.definitions.by_id))
        (lost,) = await rows.lost(conn, budget, limit=10)
    assert lost.reason == "power"
