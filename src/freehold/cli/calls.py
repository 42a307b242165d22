"""`freehold calls`: the record of calls of a running server: looked through, shown, made once more, forgotten."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table

PATH = "/freehold/v1/calls"
CallId = Annotated[str, typer.Argument(help="Id of the call: `req_…`.")]
_MOST_SHOWN = 2000


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="The recorded calls of a running server.", no_args_is_help=True)
    group.command("list")(list_calls)
    group.command("show")(show)
    group.command("replay")(replay)
    group.command("delete")(delete)
    return group


def list_calls(
    key: Annotated[str | None, typer.Option(help="Id of a key.")] = None,
    user: Annotated[str | None, typer.Option(help="Id of a user.")] = None,
    session: Annotated[str | None, typer.Option(help="Id of a session.")] = None,
    model: Annotated[str | None, typer.Option(help="Model asked for, or that answered.")] = None,
    source: Annotated[str | None, typer.Option(help="Where it came from (X-Request-Source).")] = None,
    task_type: Annotated[str | None, typer.Option(help="Kind of task.")] = None,
    status: Annotated[int | None, typer.Option(help="HTTP status.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed.")] = False,
    recorded: Annotated[bool, typer.Option("--recorded", help="Only those recorded whole.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many, newest first.")] = 20,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List the newest calls that fit."""
    from freehold.cli.settings import server_of

    asked = {"key_id": key, "user_id": user, "session_id": session, "model": model, "source": source}
    asked |= {"task_type": task_type, "status": None if status is None else str(status), "limit": str(limit)}
    asked |= {"failed": "true" if failed else None, "recorded": "true" if recorded else None}
    query = {name: value for name, value in asked.items() if value is not None}
    found = server_of(data, url, key_file).get(PATH, query)["data"]
    if as_json:
        print_json(found)
        return
    columns = ["id", "started_at", "model", "status", "error", "tokens", "cost", "ms", "recorded"]
    print_table(columns, [_row(call) for call in found], "There is no such call.")


def show(call_id: CallId, data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """Show one call: its figures and, where it was recorded whole, how it went, request and answer."""
    from freehold.cli.settings import server_of

    call = server_of(data, url, key_file).get(f"{PATH}/{call_id}")
    if as_json:
        print_json(call)
        return
    recording = call.pop("recording")
    for name, value in call.items():
        if value is not None:
            print(f"{name:24} {value}")
    if recording is None:
        print("\nOnly these figures were kept; `record` and `[record_for]` in the settings keep calls whole.")
        return
    _show_recording(recording)


def replay(
    call_id: CallId,
    model: Annotated[str | None, typer.Option(help="Ask this model instead of the one that was asked.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Also print what was answered, then and now.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make a recorded call once more, with the key given here, and set the new answer beside the old one."""
    from freehold.cli.settings import server_of
    from freehold.errors import FreeholdError

    server = server_of(data, url, key_file)
    recording = server.get(f"{PATH}/{call_id}")["recording"]
    if recording is None or not recording["request"]["complete"] or "body" not in recording["request"]:
        raise FreeholdError(
            f"{call_id} was not recorded whole, so it cannot be made again. The setting `record` keeps calls "
            "whole from now on."
        )
    request = recording["request"]
    kept = {name: value for name, value in request["headers"] if name.startswith("anthropic-")}
    path = request["path"] + (f"?{request['query']}" if request["query"] else "")
    headers = {**kept, "x-freehold-source": "replay"}
    status, answered, body = server.exchange(path, _asked(request["body"], model), headers)
    old = recording["response"].get("body", "").encode()
    before, after = _facts(recording["response"]["status"], old), _facts(status, body)
    if text:
        before, after = {**before, "text": _text(old)}, {**after, "text": _text(body)}
    if as_json:
        print_json({"id": answered.get("request-id"), "before": before, "after": after})
        return
    if recording["removed"]:
        print(f"Note: {recording['removed']} credentials had been removed from what was recorded.\n")
    rows = [{"": name, "before": before[name], "now": after[name]} for name in before if name != "text"]
    print_table(["", "before", "now"], rows, "")
    if text:
        print(f"\nbefore:\n{before['text']}\n\nnow:\n{after['text']}")


def delete(
    user: Annotated[str, typer.Option(help="Id of the user whose calls are to be forgotten.")],
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Forget a user: what was recorded of its calls is deleted, the figures stay without its name."""
    from urllib.parse import urlencode

    from freehold.cli.settings import server_of

    done = server_of(data, url, key_file).delete(f"{PATH}?{urlencode({'user_id': user})}")
    if as_json:
        print_json(done)
        return
    print(f"{done['recordings_deleted']} recordings deleted, the name taken off {done['calls_unnamed']} calls.")


def _row(call: dict[str, Any]) -> dict[str, Any]:
    from freehold.money import show_dollars

    cost = call["cost_nanodollars"]
    return {
        "id": call["id"],
        "started_at": call["started_at"][:19],
        "model": call["model_answered"] or call["model_asked"],
        "status": call["status"],
        "error": call["error_type"],
        "tokens": None if call["input_tokens"] is None else f"{call['input_tokens']}+{call['output_tokens']}",
        "cost": None if cost is None else show_dollars(cost),
        "ms": call["latency_us"] // 1000,
        "recorded": "whole" if call["recorded"] else None,
    }


def _show_recording(recording: dict[str, Any]) -> None:
    for number, attempt in enumerate(recording["attempts"], 1):
        told = attempt["status"] or "no answer"
        print(f"\nattempt {number}: {attempt['upstream']}, {attempt['model']}: {told}", attempt["error_type"] or "")
    for name in ("request", "response"):
        part = recording[name]
        text = part.get("body") or part.get("body_base64") or ""
        cut = "" if len(text) <= _MOST_SHOWN else f"\n… {len(text) - _MOST_SHOWN:,} more characters (--json has all)"
        print(f"\n{name}:\n{text[:_MOST_SHOWN]}{cut}")


def _asked(body: str, model: str | None) -> bytes:
    """The request as it was, or for another model."""
    if model is None:
        return body.encode()
    return json.dumps({**json.loads(body), "model": model}).encode()


def _text(body: bytes) -> str:
    """What an answer says, whole or streamed; an error's message."""
    if not body.startswith((b"event:", b"data:", b":")):
        value = json.loads(body or b"{}")
        told = "".join(block.get("text", "") for block in value.get("content", []))
        return told or str(value.get("error", {}).get("message", ""))
    events = (json.loads(line[5:]) for line in body.splitlines() if line.startswith(b"data:"))
    return "".join(event.get("delta", {}).get("text", "") for event in events)


def _facts(status: int, body: bytes) -> dict[str, Any]:
    """What two answers are compared by."""
    from freehold.wire.frames import Frames
    from freehold.wire.tap import Tap, of_whole

    facts = of_whole(status, body)
    if body.startswith((b"event:", b"data:", b":")):
        tap = Tap()
        tap.read(Frames().cut(body))
        facts = tap.facts
    usage = facts.usage
    return {
        "status": status,
        "model": facts.model,
        "stop_reason": facts.stop_reason,
        "error_type": facts.error_type,
        "input_tokens": usage and usage.input_tokens,
        "output_tokens": usage and usage.output_tokens,
        "cache_read_tokens": usage and usage.cache_read_tokens,
    }
