"""Rows to work on: lines of JSON, a CSV table, or the files of a folder. One at a time, so size does not matter."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.errors import FreeholdError


class BadInput(FreeholdError):
    """The input cannot be used; the message names the place."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what it is called in the results, and its fields for the template.

    `params` are set where the input is lines of requests as the API takes them; then no template is used.
    """

    name: str
    fields: dict[str, Any]
    params: dict[str, Any] | None = None


def rows(source: Path) -> Iterator[Row]:
    """The rows of `.jsonl`, `.csv` or a folder of text files, in a fixed order.

    Raises:
        BadInput: names the file and line.
    """
    if source.is_dir():
        return _of_folder(source)
    if not source.is_file():
        raise BadInput(f"{source}: there is no such file or folder")
    kind = source.suffix.lower()
    if kind in (".jsonl", ".ndjson"):
        return _of_jsonl(source)
    if kind == ".csv":
        return _of_csv(source)
    if kind == ".parquet":
        return _of_parquet(source)
    raise BadInput(f"{source}: a file must end in .jsonl, .csv or .parquet; a folder is taken file by file")


def _of_folder(folder: Path) -> Iterator[Row]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not found:
        raise BadInput(f"{folder}: there are no files in it")
    for path in found:
        name = path.relative_to(folder).as_posix()
        try:
            yield Row(name, {"file": name, "text": path.read_text("utf-8")})
        except UnicodeDecodeError as error:
            raise BadInput(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}") from error


def _of_jsonl(source: Path) -> Iterator[Row]:
    with source.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except ValueError as error:
                raise BadInput(f"{source}, line {number}: is not JSON ({error})") from error
            if not isinstance(value, dict):
                raise BadInput(f"{source}, line {number}: must be a JSON object")
            params = value.get("params")
            if "custom_id" in value and isinstance(params, dict):
                yield Row(str(value["custom_id"]), {}, params)
            else:
                yield Row(str(value.get("id", number)), value)


def _of_csv(source: Path) -> Iterator[Row]:
    csv.field_size_limit(32 << 20)
    with source.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        try:
            for number, fields in enumerate(table, 1):
                if None in fields or None in fields.values():
                    raise BadInput(f"{source}, line {table.line_num}: has not as many columns as the first line")
                yield Row(str(fields.get("id") or number), dict(fields))
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadInput(f"{source}, line {table.line_num + 1}: {error}") from error


def _of_parquet(source: Path) -> Iterator[Row]:
    try:
        from pyarrow import parquet  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise BadInput(
            f"{source}: reading Parquet needs the extra `parquet`: pip install 'freehold[parquet]'"
        ) from error
    number = 0
    for part in parquet.ParquetFile(source).iter_batches(1_000):
        for fields in part.to_pylist():
            number += 1
            yield Row(str(fields.get("id", number)), fields)
