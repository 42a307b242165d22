"""Fenced blocks and file paths in what a user wrote."""

from __future__ import annotations

import re
from dataclasses import dataclass

_OPENING = re.compile(r"[ \t]{0,8}(`{3,10}|~{3,10})[ \t]*([\w+#.-]{0,40})[^`\n]*\Z")
_ENDINGS = (
    "csv|tsv|txt|md|py|json|ya?ml|toml|ini|cfg|log|sh|sql|html?|css|js|ts|xml|pdf|png|jpe?g|parquet|xlsx?|ipynb|rs|go|"
    "java|c|h|cpp"
)
_NAME = r"[\w.@%+~-]{1,100}"
_PATH = re.compile(
    rf"(?<![\w:/.@%+~-])((?:~|\.{{1,2}})?/{_NAME}(?:/{_NAME}){{0,30}}/?|[\w.-]{{1,100}}(?:/[\w.-]{{1,100}}){{1,30}}|"
    rf"[\w-]{{1,100}}(?:\.[\w-]{{1,30}}){{0,3}}\.(?:{_ENDINGS}))(?![\w/])"
)
"""No piece without a bound, and no start in the middle of a name: a hostile text must not cost more than its length."""
_SHELL = ("bash", "sh", "shell", "zsh", "console", "terminal")
_PYTHON = ("python", "py", "python3")
_STARTS = re.compile(
    r"\s*(\$ |ls\b|cat\b|echo\b|cd\b|grep\b|find\b|pip\b|python3?\b|wc\b|head\b|tail\b|mkdir\b|curl\b)"
)


@dataclass(frozen=True, slots=True)
class Fenced:
    """One fenced block: its language as written (lower case, perhaps empty) and its text."""

    language: str
    text: str

    @property
    def is_shell(self) -> bool:
        """Meant for a shell."""
        return self.language in _SHELL or (not self.language and bool(_STARTS.match(self.text)))

    @property
    def is_python(self) -> bool:
        """Meant for Python."""
        return self.language in _PYTHON

    def command(self) -> str:
        """What to give to bash so that the block runs."""
        if self.is_python:
            mark = "PY" if "\nPY\n" not in f"\n{self.text}" else "END_OF_PYTHON"
            return f"python3 - <<'{mark}'\n{self.text.rstrip()}\n{mark}"
        lines = self.text.rstrip().splitlines()
        if lines and all(line.startswith("$ ") or not line.strip() for line in lines):
            lines = [line[2:] for line in lines]
        return "\n".join(lines)


def fenced(text: str) -> list[Fenced]:
    """All fenced blocks in order; one that is never closed is none."""
    return _split(text)[1]


def without_fences(text: str) -> str:
    """The text around the fenced blocks."""
    return _split(text)[0]


def _split(text: str) -> tuple[str, list[Fenced]]:
    if "```" not in text and "~~~" not in text:
        return text, []
    around: list[str] = []
    found: list[Fenced] = []
    inside: list[str] = []
    fence = language = opened = ""
    for line in text.splitlines(keepends=True):
        if fence:
            if line.strip() == fence:
                found.append(Fenced(language, "".join(inside)))
                around.append("\n")
                fence, inside = "", []
            else:
                inside.append(line)
        elif opening := _OPENING.match(line.rstrip("\r\n")):
            fence, language, opened = opening.group(1), opening.group(2).lower(), line
        else:
            around.append(line)
    return "".join([*around, opened, *inside] if fence else around), found


def paths(text: str) -> list[str]:
    """File paths in order of appearance, each once; addresses of web pages are none."""
    plain = re.sub(r"\b[a-z][a-z0-9+.-]*://\S+", " ", text)
    found = dict.fromkeys(match.rstrip(".,;:") for match in _PATH.findall(plain))
    return [path for path in found if not re.fullmatch(r"[\d./-]+", path) and "and/or" not in path]
