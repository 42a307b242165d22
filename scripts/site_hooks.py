"""What the site needs besides mkdocs: links out of `docs/` become names, guides outside the navigation get a place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(#[^)]*)?\)")


def on_config(config: Any) -> Any:
    """Put guides that nobody has given a place yet at the end."""
    docs = Path(config["docs_dir"])
    named = set(re.findall(r"[\w/.-]+\.md", str(config["nav"])))
    left = sorted(str(path.relative_to(docs)) for path in docs.glob("guides/*.md"))
    if more := [path for path in left if path not in named]:
        config["nav"].append({"More": more})
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """A link to a file that is no document becomes its name; one to nothing stays, and stops the build."""
    docs = Path(config["docs_dir"])
    here = (docs / page.file.src_path).parent

    def plain(found: re.Match[str]) -> str:
        target = (here / found[2]).resolve()
        return found[1] if not target.is_relative_to(docs) and target.exists() else found[0]

    return _LINK.sub(plain, markdown)
