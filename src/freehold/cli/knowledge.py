"""`freehold knowledge`: collections of documents of a running server, filled from files, folders and addresses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from freehold.cli.options import Data, Json, KeyFile, Url, print_json, print_table, tell

PATH = "/freehold/v1/knowledge"
Collection = Annotated[str, typer.Argument(help="Name or id of the collection.")]


def commands() -> typer.Typer:
    """The group."""
    group = typer.Typer(help="Documents that agents can search.", no_args_is_help=True)
    group.command("create")(create)
    group.command("add")(add)
    group.command("search")(search)
    group.command("list")(list_them)
    group.command("delete")(delete)
    return group


def create(
    name: Annotated[str, typer.Argument(help="Small letters, digits, underscores and hyphens.")],
    description: Annotated[str, typer.Option(help="What is in it.")] = "",
    embedding: Annotated[
        str | None, typer.Option(help="What makes vectors: service, local or none; the server's default if left out.")
    ] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Create an empty collection."""
    from freehold.cli.settings import server_of

    body = {"name": name, "description": description, **({"embedding": embedding} if embedding else {})}
    made = server_of(data, url, key_file).post(f"{PATH}/collections", body)
    tell(f"{made['id']}\nFill it: freehold knowledge add {name} FILE|FOLDER|URL", made, as_json)


def add(
    collection: Collection,
    sources: Annotated[list[str], typer.Argument(help="Files, folders, https:// addresses, ids of uploaded files.")],
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete documents of the collection that are in no folder named here.")
    ] = False,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Add documents. What is unchanged is left alone, what has changed is replaced; so run it again whenever you like.

    Of a folder, all documents of known kinds are taken, under their paths in it. Links are not followed, and names that
    begin with a dot are left out.
    """
    from freehold.cli.knowledge_adding import Adding
    from freehold.cli.settings import server_of

    adding = Adding(server_of(data, url, key_file), f"{PATH}/collections/{quote(collection, safe='')}/documents")
    done: list[dict[str, Any]] = []
    for one in _shown(adding.add(sources, prune=prune), quiet=as_json):
        done.append(one)
    counts: dict[str, int] = {}
    for one in done:
        counts[one["outcome"]] = counts.get(one["outcome"], 0) + 1
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "no documents found"
    tell(told, {"counts": counts, "documents": done}, as_json)
    if counts.get("failed"):
        raise typer.Exit(1)


def search(
    query: Annotated[str, typer.Argument(help="What you want to know.")],
    collections: Annotated[
        list[str] | None, typer.Option("--in", help="Name of a collection; may be given several times. Else all.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many passages.", min=1, max=50)] = 5,
    mode: Annotated[str, typer.Option(help="hybrid: words and meaning; words: BM25 alone.")] = "hybrid",
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show the passages that fit best."""
    from freehold.cli.settings import server_of

    body = {"query": query, "limit": limit, "mode": mode, **({"collections": collections} if collections else {})}
    found = server_of(data, url, key_file).post(f"{PATH}/search", body)["data"]
    if as_json:
        print_json(found)
        return
    for passage in found:
        block = passage["search_result"]
        print(f"{block['source']}\n  {block['title']}\n{_indented(passage['text'])}\n")
    if not found:
        print("Nothing was found.")


def list_them(
    collection: Annotated[
        str | None, typer.Argument(help="Show the documents of this one; else all collections.")
    ] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List the collections, or the documents of one."""
    from freehold.cli.settings import server_of

    path = f"{PATH}/collections"
    if collection is not None:
        path = f"{path}/{quote(collection, safe='')}/documents"
    entries = server_of(data, url, key_file).pages(path)
    if as_json:
        print_json(entries)
    elif collection is None:
        columns = ["id", "name", "documents", "chunks", "embedding", "description"]
        print_table(columns, entries, "There is no collection. Make one: freehold knowledge create NAME")
    else:
        print_table(["id", "name", "media_type", "size_bytes", "chunks"], entries, "There is no document in it.")


def delete(
    collection: Collection,
    document: Annotated[str | None, typer.Option(help="Id of a document: delete only that.")] = None,
    data: Data = None,
    url: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Delete a collection with its documents, or one document."""
    from freehold.cli.settings import server_of

    path = f"{PATH}/collections/{quote(collection, safe='')}"
    if document is not None:
        path = f"{path}/documents/{quote(document, safe='')}"
    gone = server_of(data, url, key_file).delete(path)
    tell(f"{gone['id']} is deleted.", gone, as_json)


def _shown(events: Iterator[dict[str, Any]], *, quiet: bool) -> Iterator[dict[str, Any]]:
    """What has become of each document, told as it goes."""
    import sys

    for event in events:
        if event["outcome"] == "progress":
            if not quiet and sys.stderr.isatty():
                print(f"\r{event['source']}: {event['done']} of {event['chunks']} passages", end="", file=sys.stderr)
            continue
        if not quiet and event["outcome"] != "unchanged":
            more = event.get("error") or f"{event.get('chunks', 0)} passages"
            print(f"{event['outcome']:9} {event['source']}  {more}", file=sys.stderr)
        yield event


def _indented(text: str, most: int = 12) -> str:
    lines: Sequence[str] = text.splitlines()
    more = ["…"] if len(lines) > most else []
    return "\n".join(f"  | {line}" for line in [*lines[:most], *more])
