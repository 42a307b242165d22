"""`freehold budgets`: who may spend how much on a running server, and what is left."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table

PATH = "/freehold/v1/budgets"
Period = Literal["day", "month", "lifetime"]
LimitUsd = Annotated[str | None, typer.Option("--limit-usd", help="Limit in dollars, such as 0.45.")]
LimitTokens = Annotated[int | None, typer.Option("--limit-tokens", min=0, help="Limit in tokens of all kinds.")]
_SCOPES = Literal["organization", "workspace", "key", "user", "session", "batch"]


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="The budgets of a running server.", no_args_is_help=True)
    group.command("show")(show)
    group.command("set")(set_one)
    return group


def show(data: Data = None, url: Url = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """Show every budget, and what is spent, reserved and left of it."""
    from freehold.cli.settings import server_of

    budgets = server_of(data, url, key_file).pages(PATH)
    if as_json:
        print_json(budgets)
        return
    rows = [_row(budget, account) for budget in budgets for account in budget["accounts"] or [{}]]
    columns = ["id", "scope", "of", "period", "kind", "limit", "settled", "reserved", "remaining", "resets_at"]
    print_table(columns, rows, "There is no budget.")


def set_one(
    scope: Annotated[_SCOPES, typer.Argument(help="What the budget is for.")],
    scope_id: Annotated[
        str | None, typer.Argument(help="Id of the key, user, session or batch; left out: each one has this much.")
    ] = None,
    limit_usd: LimitUsd = None,
    limit_tokens: LimitTokens = None,
    period: Annotated[Period, typer.Option(help="How long the limit is for.")] = "lifetime",
    timezone: Annotated[str, typer.Option(help="Whose midnight ends a day: an IANA name.")] = "UTC",
    soft: Annotated[bool, typer.Option("--soft", help="Only alert; refuse nothing.")] = False,
    workspace: Annotated[str | None, typer.Option(help="Id of the workspace; the key's own if left out.")] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Set a limit, or change the one there is for the same thing, period and unit."""
    from freehold.cli.settings import server_of

    made = [
        server_of(data, url, key_file).post(PATH, body)
        for body in bodies(
            {"scope": scope, "scope_id": scope_id, "workspace_id": workspace},
            limit_usd,
            limit_tokens,
            period,
            timezone,
            "soft" if soft else "hard",
        )
    ]
    if as_json:
        print_json(made)
        return
    for budget in made:
        print(f"{budget['id']}: {_amount(budget['limit'], budget['unit'])} for {scope} {scope_id or ''}".rstrip())


def bodies(
    whose: dict[str, Any], limit_usd: str | None, limit_tokens: int | None, period: str, timezone: str, enforcement: str
) -> list[dict[str, Any]]:
    """What is sent for these options: one budget in money, one in tokens, or both.

    Raises:
        typer.BadParameter: there is no limit, or it is not an amount of dollars.
    """
    from freehold.money import nanodollars

    limits: list[tuple[str, int]] = []
    if limit_usd is not None:
        try:
            limits.append(("nanodollars", nanodollars(limit_usd)))
        except ValueError as error:
            raise typer.BadParameter(f"--limit-usd: {error}") from error
    if limit_tokens is not None:
        limits.append(("tokens", limit_tokens))
    if not limits:
        raise typer.BadParameter("say --limit-usd or --limit-tokens")
    common = {"period": period, "timezone": timezone, "enforcement": enforcement}
    known = {name: value for name, value in whose.items() if value is not None}
    return [{**known, **common, "unit": unit, "limit": limit} for unit, limit in limits]


def _row(budget: dict[str, Any], account: dict[str, Any]) -> dict[str, Any]:
    unit = budget["unit"]
    amounts = {
        name: _amount(account.get(name, 0 if name != "remaining" else budget["limit"]), unit)
        for name in ("settled", "reserved", "remaining")
    }
    whose = account.get("scope_id") or budget["scope_id"] or "(each)"
    of = "" if budget["scope"] == "organization" else whose
    return {**budget, "of": of, "kind": budget["enforcement"], "limit": _amount(budget["limit"], unit), **amounts}


def _amount(value: int, unit: str) -> str:
    from freehold.money import show_dollars

    return show_dollars(value) if unit == "nanodollars" else f"{value:,} tokens"
