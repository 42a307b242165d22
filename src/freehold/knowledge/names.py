"""What documents may be called: a relative path or an address. Models read names, so they are plain and one line."""

from __future__ import annotations

import unicodedata

from freehold.errors import InvalidRequest

MOST_CHARACTERS = 500
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
"""Categories of characters that steer or hide what is shown: line breaks, directions, tags."""


def checked(name: str) -> str:
    """The name as it is kept. Raises `InvalidRequest`."""
    kept = unicodedata.normalize("NFC", name).replace("\\", "/")
    if any(unicodedata.category(character) in _HIDDEN for character in kept):
        raise InvalidRequest("name: holds line breaks or characters that cannot be seen.")
    if not kept.strip() or len(kept) > MOST_CHARACTERS:
        raise InvalidRequest(f"name: must have 1 to {MOST_CHARACTERS} characters.")
    if "://" not in kept and (kept.startswith("/") or ".." in kept.split("/")):
        raise InvalidRequest("name: must be a path within the collection, without a leading / and without `..`.")
    return kept


def shown(text: str, most: int = 200) -> str:
    """A name or title for a model: one line, cut, nothing that could pass for markup around it."""
    plain = "".join(" " if unicodedata.category(one) in _HIDDEN else one for one in text)
    plain = " ".join(plain.replace("<", "‹").replace(">", "›").split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"
