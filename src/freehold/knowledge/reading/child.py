"""The child that reads one document behind walls: bytes in, JSON out. `python -m freehold.knowledge.reading.child`.

Before it looks at anything it gives up what it does not need: memory, time, files, processes.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import warnings
from collections.abc import Callable
from importlib import import_module

from freehold.knowledge.reading.base import Line, Read, Unreadable

MEMORY_BYTES = 1536 << 20
_READERS = {"html": "html:page", "pdf": "pdf:pdf", "docx": "office:docx", "xlsx": "office:xlsx", "pptx": "office:pptx"}


def main(arguments: list[str]) -> int:
    """`KIND MOST_CHARACTERS CPU_SECONDS`; the document on standard input."""
    kind, most, seconds = arguments[0], int(arguments[1]), int(arguments[2])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    logging.disable()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no part of the answer
    out.write(json.dumps(_told(kind, sys.stdin.buffer.read(), most)).encode())
    out.flush()
    return 0


def _told(kind: str, data: bytes, most: int) -> dict[str, object]:
    try:
        return packed(_reader(kind)(data, most))
    except Unreadable as error:
        return {"unreadable": str(error)}
    except ImportError as error:
        return {"unreadable": f"{kind} needs the extra `knowledge` on the server ({error.name} is missing)."}
    except MemoryError:
        return {"unreadable": "reading it needs more memory than is given."}
    except RecursionError:
        return {"unreadable": "it is nested too deeply."}
    except Exception as error:  # noqa: BLE001 (libraries raise anything for what is not what it says)
        return {"unreadable": f"it is no {kind} that can be read ({type(error).__name__})."}


def packed(read: Read) -> dict[str, object]:
    """A document as plain values."""
    lines = [[line.text, line.start, line.heading, line.page, line.number] for line in read.lines]
    return {"title": read.title, "table_head": read.table_head, "lines": lines}


def unpacked(told: dict[str, object]) -> Read:
    """What `packed` was given. Raises `Unreadable` if it says that the document is."""
    if "unreadable" in told:
        raise Unreadable(str(told["unreadable"])[:500])
    lines: list[list[object]] = told["lines"]  # type: ignore[assignment]
    return Read(
        [Line(*line) for line in lines],  # type: ignore[arg-type]
        str(told["title"]).replace("\0", " "),
        str(told["table_head"]),
    )


def _reader(kind: str) -> Callable[[bytes, int], Read]:
    module, _, name = _READERS[kind].partition(":")
    found: Callable[[bytes, int], Read] = getattr(import_module(f"freehold.knowledge.reading.{module}"), name)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
