"""The commands `freehold batch run` and `freehold batch estimate`: what is asked of which rows, what it may cost."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json

if TYPE_CHECKING:
    from freehold.cli.batch_run.plan import Plan

Source = Annotated[Path, typer.Argument(help="A .jsonl, .csv or .parquet file, or a folder of text files.")]
Model = Annotated[str, typer.Option(help="Which model answers.")]
Prompt = Annotated[str, typer.Option(help="What is asked; {text}, {file} or a column's name is filled in.")]
PromptFile = Annotated[Path | None, typer.Option(help="The prompt, from a file.")]
System = Annotated[str, typer.Option(help="The system prompt.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Of one answer.")]
Schema = Annotated[Path | None, typer.Option(help="JSON schema that every answer must fit.")]
MaxDollars = Annotated[
    float | None, typer.Option(min=0, help="Ask before more than that may be spent; refuse where nobody can be asked.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_HAIKU = "claude-haiku-4-5"
_TOKENS = 1024


def run(
    source: Source,
    out: Annotated[Path, typer.Option(help="Where the results go, a JSON line for each row, in order.")],
    model: Model = _HAIKU,
    prompt: Prompt = "{text}",
    prompt_file: PromptFile = None,
    system: System = "",
    max_tokens: MaxTokens = _TOKENS,
    schema: Schema = None,
    max_chars: Annotated[int, typer.Option(min=0, help="Answers that are longer are asked for once more.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was broken off.")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="Ask again only for the rows that failed in --out.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look whether every request is one.")] = False,
    max_dollars: MaxDollars = None,
    yes: Yes = False,
    agent: Annotated[str | None, typer.Option(help="Id of an agent: each row becomes a session of its own.")] = None,
    environment: Annotated[str | None, typer.Option(help="With --agent: the environment of each session.")] = None,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="With --agent: sessions that are open at once.")] = 4,
    row_dollars: Annotated[float | None, typer.Option(min=0, help="With --agent: what one session may cost.")] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
) -> None:
    """Ask the same of every row; a live bar shows how far it is. Ctrl-C leaves the batch running; --resume goes on."""
    from freehold.cli.batch_run.inputs import BadInput, rows
    from freehold.cli.settings import server_of

    plan = _plan(model, prompt, prompt_file, system, max_tokens, schema, max_chars)
    if check:
        print(f"{_check(plan, source)} requests are well-formed.")
        return
    if agent is None and (environment or row_dollars is not None):
        raise BadInput("--environment and --row-dollars belong to --agent")
    if agent is not None and (failed or system or max_dollars is not None or model != _HAIKU or max_tokens != _TOKENS):
        raise BadInput("--model, --system, --max-tokens, --max-dollars and --failed are not for --agent")
    server = server_of(data, url, key_file)
    try:
        if agent is not None:
            from freehold.cli.batch_run.sessions import SessionRun, Wanted

            wanted = Wanted(agent, environment, at_once, row_dollars)
            bad = SessionRun(server, plan, lambda: rows(source), out, wanted).go(_console(), resume=resume)
        else:
            bad = _messages(server, plan, source, out, resume, failed, max_dollars, yes)
    except KeyboardInterrupt:
        print("\nBroken off here; the server goes on. The same command with --resume waits for it.", file=sys.stderr)
        raise typer.Exit(130) from None
    raise typer.Exit(1 if bad else 0)


def estimate(
    source: Source,
    model: Model = _HAIKU,
    prompt: Prompt = "{text}",
    prompt_file: PromptFile = None,
    system: System = "",
    max_tokens: MaxTokens = _TOKENS,
    schema: Schema = None,
    probe: Annotated[int, typer.Option(min=0, help="Really make so many of the calls first, to know more.")] = 0,
    max_dollars: MaxDollars = None,
    yes: Yes = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Tell what a run would cost, with an interval, before anything is spent."""
    from freehold.cli.batch_run import limits
    from freehold.cli.batch_run.inputs import rows
    from freehold.cli.batch_run.plan import requests
    from freehold.cli.settings import server_of

    server = server_of(data, url, key_file)
    plan = _plan(model, prompt, prompt_file, system, max_tokens, schema, 0)
    if probe:
        limits.probe(_console(), server, list(requests(plan, rows(source))), probe)
    found = limits.estimate(server, requests(plan, rows(source)))
    if as_json:
        print_json(found)
    else:
        limits.show(_console(), found)
    if max_dollars is not None and not limits.allowed(found, max_dollars, yes=yes):
        raise typer.Exit(1)


def _messages(
    server: Any,
    plan: Plan,
    source: Path,
    out: Path,
    resume: bool,
    failed: bool,
    max_dollars: float | None,
    yes: bool,
) -> int:
    from freehold.cli.batch_run import limits
    from freehold.cli.batch_run.inputs import BadInput, rows
    from freehold.cli.batch_run.run import Run
    from freehold.cli.batch_run.summary import summary

    whole = Run(server, plan, lambda: rows(source), out, only_failed=failed)
    console = _console()
    kept = whole.begin(resume=resume)
    if max_dollars is not None and not kept.first:
        found = limits.estimate(server, whole.asked())
        limits.show(console, found)
        if not limits.allowed(found, max_dollars, yes=yes):
            whole.give_up()
            return 1
    final = whole.go(kept, console)
    if not (final.good or final.bad):
        raise BadInput(f"{source}: there are no rows in it")
    summary(console, server, [*kept.first, *kept.second], out, final)
    return final.bad


def _plan(
    model: str, prompt: str, prompt_file: Path | None, system: str, max_tokens: int, schema: Path | None, chars: int
) -> Plan:
    from freehold.cli.batch_run.inputs import BadInput
    from freehold.cli.batch_run.plan import Plan

    try:
        asked = prompt_file.read_text("utf-8") if prompt_file else prompt
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{prompt_file}: cannot be read ({error})") from error
    return Plan(model, asked, system, max_tokens, _schema(schema), chars)


def _console() -> Any:
    from rich.console import Console

    # A file has no width: whoever reads it wants whole lines.
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 200)


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


def _check(plan: Plan, source: Path) -> int:
    """What the server would check before it takes a batch, and what it would check later, both now."""
    from freehold.batches.requests import check
    from freehold.cli.batch_run.inputs import BadInput, Row, rows
    from freehold.errors import InvalidRequest
    from freehold.wire.contract import check as check_contract

    def named() -> Iterator[tuple[Row, dict[str, Any]]]:
        for row in rows(source):
            yield row, plan.params(row)

    count = 0
    for row, params in named():
        try:
            check(json.dumps(params).encode())
            check_contract("messages.create", params)
        except InvalidRequest as error:
            raise BadInput(f"row {row.name}: {error.message}") from error
        count += 1
    return count
