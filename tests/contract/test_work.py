"""The work queue of self-hosted environments: who gets what, who keeps it, what becomes of it when a worker dies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from anthropic import (
    Anthropic,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
)
from anthropic.types.beta.environments.beta_heartbeat_precondition_failed_error import (
    BetaHeartbeatPreconditionFailedError,
)

from freehold.clock import HandClock
from tests.agents.house import Script, calls, text
from tests.contract.elsewhere import ONE_CALL, TOOLS, elsewhere, ended, result, said, token_of
from tests.contract.manifest import proves, shows_difference

LEASE_S = 90.0


@proves(
    "beta.environments.work.poll",
    "beta.environments.work.ack",
    "beta.environments.work.heartbeat",
    "beta.environments.work.stop",
    "beta.environments.work.retrieve",
    "beta.environments.work.list",
    "beta.environments.work.update",
    "beta.environments.work.stats",
)
@shows_difference("self-hosted-list")
async def test_an_item_from_the_queue_to_its_end(database_url: str) -> None:
    async with elsewhere(Script([*ONE_CALL, *ONE_CALL]), database=database_url) as place:
        work = place.client.beta.environments.work
        assert await place.poll() is None, "a session that nobody spoke to needs no worker"
        assert (await work.stats(place.environment)).oldest_queued_at is None
        session = await place.session()
        [call] = await place.waits(session)
        stats = await work.stats(place.environment)
        assert (stats.depth, stats.pending, stats.workers_polling) == (1, 0, 0)
        item = await place.poll(anthropic_worker_id="one")
        assert item is not None and item.data.id == session and item.environment_id == place.environment
        assert (item.state, item.acknowledged_at, item.latest_heartbeat_at) == ("queued", None, None)
        stats = await work.stats(place.environment)
        assert (stats.depth, stats.pending, stats.workers_polling) == (0, 1, 1) and stats.oldest_queued_at
        assert await place.poll(anthropic_worker_id="two") is None, "it is handed out already"
        for _ in range(2):
            taken = await place.worker.beta.environments.work.ack(item.id, environment_id=place.environment)
            assert taken.state == "starting" and taken.acknowledged_at, "saying so again changes nothing"
        first = await place.beat(item)
        assert (first.state, first.lease_extended, first.ttl_seconds) == ("active", True, round(LEASE_S))
        second = await place.beat(item, first.last_heartbeat, desired_ttl_seconds=20)
        assert second.ttl_seconds == 20 and second.last_heartbeat > first.last_heartbeat
        with pytest.raises(ConflictError, match="is active"):
            await place.worker.beta.environments.work.ack(item.id, environment_id=place.environment)
        noted = await work.update(item.id, environment_id=place.environment, metadata={"host": "a", "x": "y"})
        assert noted.metadata == {"host": "a", "x": "y"}
        noted = await work.update(item.id, environment_id=place.environment, metadata={"x": None})
        assert noted.metadata == {"host": "a"} and noted.started_at and noted.secret is None
        own = place.bearing(token_of(item))
        await own.beta.sessions.events.send(session, events=[result(call)])
        await place.until(session, ended)
        stopping = await work.stop(item.id, environment_id=place.environment)
        assert stopping.state == "stopping" and stopping.stop_requested_at
        last = await place.beat(item, "whatever: nothing is compared now")
        assert last.state == "stopping"
        stopped = await own.beta.environments.work.stop(item.id, environment_id=place.environment, force=True)
        assert stopped.state == "stopped" and stopped.stopped_at
        with pytest.raises(ConflictError, match="stopped already"):
            await own.beta.environments.work.stop(item.id, environment_id=place.environment, force=True)
        gone = await place.beat(item)
        assert (gone.state, gone.lease_extended) == ("stopped", False)
        assert await place.poll() is None, "its session has come to rest"
        await place.client.beta.sessions.events.send(session, events=[said("and again")])
        await place.waits(session, 2)
        again = await place.poll()
        assert again is not None and again.id != item.id, "one that is spoken to needs one again"
        listed = [one.id async for one in work.list(place.environment, limit=1)]
        assert listed == [again.id, item.id]
        assert [one.id async for one in place.worker.beta.environments.work.list(place.environment)] == listed


@proves(
    "beta.environments.work.poll",
    "beta.environments.work.ack",
    "beta.environments.work.heartbeat",
    "beta.environments.work.stop",
    "beta.environments.work.retrieve",
    "beta.environments.work.list",
    "beta.environments.work.update",
    "beta.environments.work.stats",
    clients=("sync",),
)
async def test_the_same_from_a_program_without_an_event_loop() -> None:
    async with elsewhere(Script(ONE_CALL)) as place:
        session = await place.session()
        [call] = await place.waits(session)
        user = place.running.new_sync_client()
        await asyncio.to_thread(_whole_life, user, place.running.new_sync_client(place.key), place.environment, call)
        await place.until(session, ended)


def _whole_life(user: Anthropic, worker: Anthropic, environment: str, call: str) -> None:
    mine, theirs = worker.beta.environments.work, user.beta.environments.work
    assert theirs.stats(environment).depth == 1
    first = mine.poll(environment)
    assert first is not None and mine.poll(environment) is None
    assert theirs.retrieve(first.id, environment_id=environment).state == "queued"
    assert mine.ack(first.id, environment_id=environment).state == "starting"
    beat = mine.heartbeat(first.id, environment_id=environment, expected_last_heartbeat="NO_HEARTBEAT")
    assert beat.state == "active" and beat.lease_extended
    assert theirs.update(first.id, environment_id=environment, metadata={"a": "b"}).metadata == {"a": "b"}
    worker.beta.sessions.events.send(first.data.id, events=[result(call)])
    assert mine.stop(first.id, environment_id=environment).state == "stopping"
    assert [one.state for one in mine.list(environment)] == ["stopping"]
    assert mine.stop(first.id, environment_id=environment, force=True).state == "stopped"


@shows_difference("self-hosted-lease")
async def test_whoever_dies_loses_the_item_and_whoever_comes_back_late_is_told_so(database_url: str) -> None:
    clock = HandClock()
    async with elsewhere(Script(ONE_CALL), clock=clock, database=database_url) as place:
        session = await place.session()
        [call] = await place.waits(session)
        silent = await place.poll()
        await clock.advance(4)
        assert silent is not None and await place.poll() is None
        assert await place.poll(reclaim_older_than_ms=3000) is not None, "it was never acknowledged"
        await clock.advance(6)
        dead = await place.take()
        assert dead.id == silent.id and len({token_of(silent), token_of(dead)}) == 2
        with pytest.raises(BetaHeartbeatPreconditionFailedError):
            await place.beat(silent)
        beat = await place.beat(dead)
        await clock.advance(LEASE_S - 1)
        assert await place.poll() is None
        beat = await place.beat(dead, beat.last_heartbeat)
        await clock.advance(LEASE_S + 1)
        beat = await place.beat(dead, beat.last_heartbeat)
        assert beat.lease_extended, "late, but nobody else has it"
        await clock.advance(LEASE_S + 1)
        alive = await place.take()
        assert alive.id == dead.id and await place.state(alive) == "starting"
        with pytest.raises(BetaHeartbeatPreconditionFailedError) as lost:
            await place.beat(dead, beat.last_heartbeat)
        assert lost.value.details.current_state.state == "starting"
        late = place.bearing(token_of(dead)).beta
        with pytest.raises(ConflictError, match="another worker"):
            await late.environments.work.stop(dead.id, environment_id=place.environment, force=True)
        with pytest.raises(PermissionDeniedError, match="another worker"):
            await late.sessions.events.send(session, events=[result(call, "from the grave")])
        await place.beat(alive)
        with pytest.raises(BetaHeartbeatPreconditionFailedError):
            await place.beat(alive)
        await place.bearing(token_of(alive)).beta.sessions.events.send(session, events=[result(call)])
        with pytest.raises(BadRequestError, match="answered already"):
            await place.worker.beta.sessions.events.send(session, events=[result(call)])
        log = await place.until(session, ended)
    assert [e.content[0].text for e in log if e.type == "user.tool_result"] == ["here"]
    [told] = [event.error.message for event in log if event.type == "session.error"]
    assert call in told and "may run again" in told, "what may happen twice does not happen in silence"


@shows_difference("self-hosted-next-item")
async def test_a_session_that_still_waits_gets_another_worker_and_waits_longer_each_time() -> None:
    clock = HandClock()
    async with elsewhere(Script([calls(("bash", {"command": "one"})), *ONE_CALL]), clock=clock) as place:
        session = await place.session()
        [first] = await place.waits(session)
        item = await place.take()
        own = place.bearing(token_of(item)).beta
        await place.beat(item)
        await own.sessions.events.send(session, events=[result(first)])
        [second] = await place.waits(session, 2)
        await own.environments.work.stop(item.id, environment_id=place.environment, force=True)
        for patience_s in (0, 2, 4, 8):
            assert not patience_s or await place.poll() is None
            await clock.advance(patience_s)
            item = await place.take()
            await place.bearing(token_of(item)).beta.environments.work.stop(
                item.id, environment_id=place.environment, force=True
            )
        await clock.advance(16)
        item = await place.take()
        await place.bearing(token_of(item)).beta.sessions.events.send(session, events=[result(second)])
        await place.until(session, ended)


async def test_a_worker_that_was_asked_to_stop_and_died_is_replaced_when_its_lease_has_run_out() -> None:
    clock = HandClock()
    async with elsewhere(Script(ONE_CALL), clock=clock) as place:
        await place.waits(await place.session())
        item = await place.take()
        await place.beat(item)
        await place.client.beta.environments.work.stop(item.id, environment_id=place.environment)
        await clock.advance(LEASE_S - 1)
        assert await place.poll() is None and await place.state(item) == "stopping", "it may still be working"
        await clock.advance(2)
        assert await place.poll() is None and await place.state(item) == "stopped"
        await clock.advance(2)
        assert (await place.take()).id != item.id


async def test_a_worker_whose_session_has_been_at_rest_for_long_is_told_to_let_go_of_it() -> None:
    clock = HandClock()
    async with elsewhere(Script(ONE_CALL), clock=clock, work_idle_s=600) as place:
        session = await place.session()
        [call] = await place.waits(session)
        item = await place.take()
        beat = await place.beat(item, desired_ttl_seconds=600)
        await clock.advance(599)
        beat = await place.beat(item, beat.last_heartbeat, desired_ttl_seconds=600)
        await clock.advance(599)
        beat = await place.beat(item, beat.last_heartbeat, desired_ttl_seconds=600)
        assert beat.state == "active", "somebody waits for it, however long"
        await place.bearing(token_of(item)).beta.sessions.events.send(session, events=[result(call)])
        await place.until(session, ended)
        beat = await place.beat(item, beat.last_heartbeat)
        assert beat.state == "active"
        await clock.advance(601)
        assert (await place.beat(item, beat.last_heartbeat)).state == "stopping"


@shows_difference("self-hosted-unneeded-items")
async def test_an_interrupt_answers_what_a_worker_would_and_ends_of_sessions_end_their_work() -> None:
    async with elsewhere(Script([calls(("bash", {"command": "sleep 1"}))])) as place:
        session = await place.session()
        [call] = await place.waits(session)
        item = await place.take()
        await place.beat(item)
        await place.client.beta.sessions.events.send(session, events=[{"type": "user.interrupt"}])
        log = await place.until(session, ended)
        [closed] = [event for event in log if event.type == "user.tool_result"]
        assert (closed.tool_use_id, closed.is_error) == (call, True) and "interrupted" in closed.content[0].text
        await place.client.beta.sessions.archive(session)
        assert (await place.beat(item, "x")).state == "stopping", "whoever attends to it is told"
        other = await place.session()
        await place.waits(other)
        await place.client.beta.sessions.events.send(other, events=[{"type": "user.interrupt"}])
        await place.until(other, ended)
        assert await place.poll() is None, "it needs nobody any more"
        third = await place.session(says=None)
        await place.client.beta.sessions.delete(third)
        await place.client.beta.sessions.delete(other)
        await place.client.beta.sessions.delete(session)
        assert await place.state(item) == "stopped"
        await place.client.beta.environments.delete(place.environment)
        with pytest.raises((AuthenticationError, NotFoundError)):
            await place.poll()


async def test_a_poll_that_waits_is_woken_by_work() -> None:
    async with elsewhere(Script(ONE_CALL)) as place:
        session = await place.session(says=None)
        asking = asyncio.create_task(_polled(place))
        await asyncio.sleep(0)
        await place.client.beta.sessions.events.send(session, events=[said("go on")])
        async with asyncio.timeout(120):
            assert (await asking).data.id == session


async def _polled(place: Any) -> Any:
    while True:
        if item := await place.poll(block_ms=999):
            return item


async def test_what_a_worker_cannot_run_is_denied_and_never_handed_to_it() -> None:
    cut = calls(("bash", {"command": "rm -r half"}), stop="max_tokens")
    async with elsewhere(Script([cut, text("I see.")])) as place:
        session = await place.session()
        log = await place.until(session, ended)
    [use] = [event for event in log if event.type == "agent.tool_use"]
    [answer] = [event for event in log if event.type == "user.tool_result"]
    assert use.evaluated_permission == "deny" and answer.tool_use_id == use.id and answer.is_error


@shows_difference("self-hosted-resources")
async def test_bad_requests_are_refused_by_name() -> None:
    async with elsewhere(Script(ONE_CALL)) as place:
        session = await place.session()
        [call] = await place.waits(session)
        item = await place.take()
        http, path = place.worker, f"/v1/environments/{place.environment}/work"
        body: Any
        for method, where, body, words in (
            ("get", f"{path}/poll?block_ms=0", None, "block_ms"),
            ("get", f"{path}/poll?block_ms=1000", None, "block_ms"),
            ("get", f"{path}/poll?block_ms=x", None, "block_ms"),
            ("get", f"{path}/poll?reclaim_older_than_ms=-1", None, "reclaim_older_than_ms"),
            ("get", f"{path}?limit=0", None, "limit"),
            ("get", f"{path}?surprise=1", None, "surprise"),
            ("get", f"{path}?page=xyz", None, "page"),
            ("post", f"{path}/{item.id}/heartbeat?desired_ttl_seconds=0", {}, "desired_ttl_seconds"),
            ("post", f"{path}/{item.id}/heartbeat?desired_ttl_seconds=1e9", {}, "desired_ttl_seconds"),
            ("post", f"{path}/{item.id}/heartbeat?expected_last_heartbeat={'x' * 65}", {}, "expected_last_heartbeat"),
            ("post", f"{path}/{item.id}/stop", {"force": "yes"}, "force"),
            ("post", f"{path}/{item.id}/stop", {"surprise": 1}, "surprise"),
        ):
            await _refused(http, method, where, body, 400, words)
        await _refused(http, "post", f"{path}/work_none/ack", {}, 404, "work_none")
        await _refused(http, "post", f"{path}/{item.id}/heartbeat?expected_last_heartbeat=yesterday", {}, 412, "last")
        worker_id = {"anthropic-worker-id": "w" * 256}
        with pytest.raises(BadRequestError, match="anthropic-worker-id"):
            await http.get(f"{path}/poll", cast_to=dict[str, Any], options={"headers": worker_id})
        user = place.client
        for body, words in (
            ({"metadata": {"k": 1}}, "metadata"),
            ({}, "metadata"),
            ({"metadata": {"k" * 65: "v"}}, "metadata"),
        ):
            await _refused(user, "post", f"{path}/{item.id}", body, 400, words)
        for event, words in (
            (result("sevt_none"), "no agent.tool_use"),
            ({**result(call), "content": [{"type": "video"}]}, "content"),
            ({"type": "user.tool_result"}, "tool_use_id"),
        ):
            await _refused(user, "post", f"/v1/sessions/{session}/events", {"events": [event]}, 400, words)
        file = await user.files.upload(file=("a.txt", b"a"))
        given: Any = {"type": "file", "file_id": file.id}
        repository = {"type": "github_repository", "url": "https://github.com/a/b", "authorization_token": "t"}
        for one in (given, repository):
            with pytest.raises(BadRequestError, match="memory stores and nothing else"):
                await place.session(says=None, resources=[one])
        with pytest.raises(BadRequestError, match="memory stores and nothing else"):
            await user.beta.sessions.resources.add(session, **given)
        for config, words in (({"limits": {"processes": 4}}, "config.limits"), ({"packages": {}}, "packages")):
            body = {"name": "x", "config": {"type": "self_hosted", **config}}
            await _refused(user, "post", "/v1/environments", body, 400, words)
        own = "/freehold/v1"
        await _refused(user, "post", f"{own}/environments/{place.environment}/build", {}, 400, "self-hosted")
        await _refused(user, "post", f"{own}/sessions/{session}/fork", {}, 400, "files are not here")
        await _refused(user, "get", f"{own}/sessions/{session}/diff", None, 400, "files are not here")
        cloud = await user.beta.environments.create(name="cloud")
        for body, words in (
            ({"name": "k", "environment_id": cloud.id}, "not self-hosted"),
            ({"name": "k", "environment_id": place.environment, "role": "admin"}, "role"),
            ({"name": "", "environment_id": place.environment}, "name"),
            ({"name": "k", "role": "worker"}, "role"),
        ):
            await _refused(user, "post", "/freehold/v1/keys", body, 400, words)
        await _refused(user, "post", "/freehold/v1/keys", {"name": "k", "environment_id": "env_no"}, 404, "env_no")


async def test_a_session_with_a_box_takes_no_results_of_workers() -> None:
    async with elsewhere(Script([calls(("read", {"file_path": "/etc/hostname"})), text("So.")])) as place:
        cloud = await place.client.beta.environments.create(name="cloud")
        agent = await place.client.beta.agents.create(name="a", model="claude-haiku-4-5", tools=TOOLS)
        hello: Any = [said("go on")]
        session = await place.client.beta.sessions.create(agent=agent.id, environment_id=cloud.id, initial_events=hello)
        log = await place.until(session.id, ended)
        [use] = [event for event in log if event.type == "agent.tool_use"]
        with pytest.raises(BadRequestError, match=r"runs .* itself"):
            await place.client.beta.sessions.events.send(session.id, events=[result(use.id)])
        assert await place.poll() is None


async def _refused(client: Any, method: str, path: str, body: Any, status: int, words: str) -> None:
    more = {} if body is None else {"body": body}
    with pytest.raises(APIStatusError) as refused:
        await getattr(client, method)(path, cast_to=dict[str, Any], **more)
    assert refused.value.status_code == status, (path, body, refused.value.message)
    assert words in refused.value.message, (path, refused.value.message)
