"""`freehold batch`: many calls at once, from a file or a folder, and what became of them."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table

_PATH = "/v1/messages/batches"
_POLL_S = 1.0
BatchId = Annotated[str, typer.Argument(help="Id of the batch, as `freehold batch list` shows it.")]


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="Many calls at once, by message batches.", no_args_is_help=True)
    for command, name in ((run, "run"), (status, "status"), (results, "results"), (cancel, "cancel")):
        group.command(name)(command)
    group.command("resume")(resume_paused)
    group.command("list")(list_them)
    return group


def run(
    source: Annotated[Path, typer.Argument(help="A .jsonl, .csv or .parquet file, or a folder of text files.")],
    out: Annotated[Path, typer.Option(help="Where the results go, a JSON line for each row, in order.")],
    model: Annotated[str, typer.Option(help="Which model answers.")] = "claude-haiku-4-5",
    prompt: Annotated[
        str, typer.Option(help="What is asked; {text}, {file} or a column's name is filled in.")
    ] = "{text}",
    prompt_file: Annotated[Path | None, typer.Option(help="The prompt, from a file.")] = None,
    system: Annotated[str, typer.Option(help="The system prompt.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Of one answer.")] = 1024,
    schema: Annotated[Path | None, typer.Option(help="JSON schema that every answer must fit.")] = None,
    max_chars: Annotated[int, typer.Option(min=0, help="Answers that are longer are asked for once more.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was broken off.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look whether every request is one.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Ask the same of every row; a live bar shows how far it is. Ctrl-C leaves the batch running; --resume goes on."""
    from rich.console import Console

    from freehold.cli.batch_run.inputs import BadInput, rows
    from freehold.cli.batch_run.plan import Plan
    from freehold.cli.batch_run.run import Run
    from freehold.cli.settings import server_of

    asked = prompt_file.read_text("utf-8") if prompt_file else prompt
    plan = Plan(model, asked, system, max_tokens, _schema(schema), max_chars)
    if check:
        print(f"{_check(plan, source)} requests are well-formed.")
        return
    console = Console(stderr=True, highlight=False)
    whole = Run(server_of(data, url, key_file), plan, lambda: rows(source), out)
    kept = whole.begin(resume=resume)
    try:
        final, seen = whole.go(kept, console)
    except KeyboardInterrupt:
        _broken_off([*kept.first, *kept.second])
        raise typer.Exit(130) from None
    if not (final.good or final.bad):
        raise BadInput(f"{source}: there are no rows in it")
    _sum_up(console, out, final, seen)
    raise typer.Exit(1 if final.bad else 0)


def status(batch_id: BatchId, data: Data = None, url: Url = None, key_file: KeyFile = None) -> None:
    """Print how far a batch is, as JSON."""
    from freehold.cli.settings import server_of

    print_json(server_of(data, url, key_file).get(f"/freehold/v1/batches/{batch_id}/progress"))


def results(
    batch_id: BatchId,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Print the results of a batch, a JSON line for each request."""
    from freehold.cli.batch_run import remote
    from freehold.cli.settings import server_of

    server = server_of(data, url, key_file)
    while wait and server.get(f"{_PATH}/{batch_id}")["processing_status"] != "ended":
        time.sleep(_POLL_S)
    for line in remote.results(server, batch_id):
        print(json.dumps(line, ensure_ascii=False))


def cancel(batch_id: BatchId, data: Data = None, url: Url = None, key_file: KeyFile = None) -> None:
    """Cancel a batch: what is done stays, calls that are open come to their end."""
    from freehold.cli.settings import server_of

    made = server_of(data, url, key_file).post(f"{_PATH}/{batch_id}/cancel", {})
    print(f"{batch_id} is {made['processing_status']}.")


def resume_paused(batch_id: BatchId, data: Data = None, url: Url = None, key_file: KeyFile = None) -> None:
    """Let a batch go on that has paused."""
    from freehold.cli.settings import server_of

    server_of(data, url, key_file).post(f"/freehold/v1/batches/{batch_id}/resume", {})
    print(f"{batch_id} goes on.")


def list_them(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List the newest batches."""
    from freehold.cli.settings import server_of

    found = server_of(data, url, key_file).get(_PATH, {"limit": str(limit)})["data"]
    if as_json:
        print_json(found)
        return
    entries = [{**one, **one["request_counts"]} for one in found]
    columns = ["id", "processing_status", "processing", "succeeded", "errored", "canceled", "expired", "created_at"]
    print_table(columns, entries, "There is no batch.")


def _schema(path: Path | None) -> dict[str, Any] | None:
    import jsonschema

    from freehold.cli.batch_run.inputs import BadInput

    if path is None:
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        jsonschema.validators.validator_for(found).check_schema(found)
    except (OSError, ValueError, jsonschema.SchemaError) as error:
        raise BadInput(f"{path}: is no JSON schema ({error})") from error
    return found


def _check(plan: Any, source: Path) -> int:
    """What the server would check before it takes a batch, and what it would check later, both now."""
    from freehold.batches.requests import check
    from freehold.cli.batch_run.inputs import BadInput, rows
    from freehold.cli.batch_run.plan import requests
    from freehold.errors import InvalidRequest
    from freehold.wire.contract import check as check_contract

    count = 0
    for row, (_, params) in zip(rows(source), requests(plan, rows(source)), strict=True):
        try:
            check(json.dumps(params).encode())
            check_contract("messages.create", params)
        except InvalidRequest as error:
            raise BadInput(f"row {row.name}: {error.message}") from error
        count += 1
    return count


def _broken_off(ids: list[str]) -> None:
    names = " ".join(ids) or "nothing was sent yet"
    print(
        f"\nBroken off here; the server goes on with: {names}.\n"
        "The same command with --resume waits for it again; `freehold batch cancel ID` ends it.",
        file=sys.stderr,
    )


def _sum_up(console: Any, out: Path, final: Any, seen: list[dict[str, Any]]) -> None:
    from freehold.cli.batch_run.screen import dollars, histogram

    cost = sum(one["cost_nanodollars"] for one in seen)
    tokens = sum(one["input_tokens"] for one in seen), sum(one["output_tokens"] for one in seen)
    console.print(f"[bold]{final.good} answers[/bold], {final.bad} failed, in {out}")
    each = f" ({dollars(cost // max(1, final.good))} an answer)" if final.good else ""
    console.print(f"{tokens[0]:,} tokens in, {tokens[1]:,} out, {dollars(cost)}{each}")
    if final.output_tokens:
        low, high = min(final.output_tokens), max(final.output_tokens)
        console.print(f"tokens of an answer  {low:>5} {histogram(final.output_tokens)} {high}")
