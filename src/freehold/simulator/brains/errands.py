"""What a user's words ask the well-known tools to do: run a block, read, write, edit or search files, remember."""

from __future__ import annotations

import re
from collections.abc import Iterator

from freehold.simulator.brains.base import Use
from freehold.simulator.brains.hands import Hands
from freehold.simulator.reading import blocks
from freehold.simulator.reading.values import Values

_RUN = re.compile(r"\b(?:run|execute|launch)\b|运行|执行", re.I)
_READ = re.compile(
    r"\b(?:read|open|show|view|cat|look at|display|print|summari[sz]e|what(?:'s| is) in|contents?)\b|"
    r"查看|读取|打开|看看|显示|读一?下|总结|内容",
    re.I,
)
_WRITE = re.compile(r"\b(?:write|create|save|make|generate|put|store)\b|写入|写到|写一|创建|保存|新建|生成|存到", re.I)
_EDIT = re.compile(r"\b(?:replace|change|edit|rename|update|fix|substitute)\b|替换|改成|改为|修改|换成|更新", re.I)
_ANALYSE = re.compile(
    r"\b(?:analy[sz]e|analysis|statistics|stats|aggregate|total|average|mean|sum|how many|rows|columns|chart|report)\b|"
    r"分析|统计|汇总|总计|合计|平均|多少|报告",
    re.I,
)
_FIND = re.compile(
    r"\b(?:list|which|locate|find)\b.{0,80}\bfiles?\b|(?:查找|列出|找出).{0,40}文件|有哪些文件", re.I | re.S
)
_GREP = re.compile(r"\b(?:grep|search|find|look for|occurrences?)\b|搜索|查找|检索", re.I)
_REMEMBER = re.compile(r"\bremember\b|\bkeep in mind\b|记住|记下", re.I)
_GLOB = re.compile(r"(?<![\w`/.*-])(/?(?:[\w.-]{1,100}/){0,20}\*\*?(?:[/.][\w.*/-]{1,100})?)")
_BACKTICK = re.compile(r"`([^`\n]{1,500})`")
_TABLES = (".csv", ".tsv")
_MOST_BLOCKS = 20
_INDENT = "    "


def errands(task: str, around: str, hands: Hands) -> Iterator[list[Use]]:
    """Calls for the well-known tools, in stages: those of one stage may run side by side, the next needs it done.

    `around` is the task without its fenced blocks.
    """
    fences = [block for block in blocks.fenced(task)[:_MOST_BLOCKS] if block.is_shell or block.is_python]
    ran = [use for use in (hands.run(block.command()) for block in fences) if use]
    written = _writes(task, around, hands)
    if written:
        yield [written]
    for use in ran:
        yield [use]
    if not ran and not written:
        yield [use for use in _others(task, around, hands) if use]


def _others(task: str, around: str, hands: Hands) -> Iterator[Use | None]:
    paths = blocks.paths(around)
    quotes = Values(around)._quotes()
    if _EDIT.search(around) and paths and len(quotes) >= 2:
        yield hands.edit(paths[0], quotes[0], quotes[1])
        return
    if _RUN.search(around) and (command := _BACKTICK.search(around)):
        yield hands.run(command.group(1))
        return
    if globs := _GLOB.findall(around):
        yield from (_glob(pattern, hands) for pattern in globs[:3])
        return
    if _GREP.search(around) and quotes and (hands.get("grep") or paths):
        yield _grep(quotes[0], paths, hands)
        return
    yield from _files(paths, around, hands)


def _files(paths: list[str], around: str, hands: Hands) -> Iterator[Use | None]:
    wants = _READ.search(around) or _ANALYSE.search(around)
    for path in paths[:4]:
        if path.endswith(_TABLES) and hands.get("bash") and (_ANALYSE.search(around) or not _READ.search(around)):
            yield hands.run(summary_of_table(path))
        elif path.endswith(".py") and _RUN.search(around):
            yield hands.run(f"python3 {path}")
        elif wants:
            yield hands.run(f"ls -la {path}") if path.endswith("/") else hands.read(path)
    if not paths and _FIND.search(around):
        yield _glob("**/*", hands)


def _writes(task: str, around: str, hands: Hands) -> Use | None:
    """Write a file when the words ask for it and say what goes in: a fenced block that is not to be run, or a quote."""
    paths = blocks.paths(around)
    if not paths or not _WRITE.search(around):
        return None
    other = [block for block in blocks.fenced(task) if not (block.is_shell or block.is_python)]
    named_python = [block for block in blocks.fenced(task) if block.is_python and paths[0].endswith(".py")]
    for block in named_python + other:
        return hands.write(paths[0], block.text)
    quotes = [quote for quote in Values(around)._quotes() if quote not in paths]
    return hands.write(paths[0], quotes[0] + "\n") if quotes else None


def _glob(pattern: str, hands: Hands) -> Use | None:
    if hand := hands.get("glob"):
        return hand.use(pattern=pattern)
    name = pattern.rsplit("/", 1)[-1]
    return hands.run(f"find . -name '{name}' | head -200")


def _grep(pattern: str, paths: list[str], hands: Hands) -> Use | None:
    where = paths[0] if paths else "."
    if hand := hands.get("grep"):
        return hand.use(pattern=re.escape(pattern), path=where) if paths else hand.use(pattern=re.escape(pattern))
    return hands.run(f"grep -rn -F -- '{pattern}' {where} | head -100")


def remembers(task: str, hands: Hands) -> Use | None:
    """A note for the memory tool, when the user asks to remember something."""
    if not hands.memory or not _REMEMBER.search(task):
        return None
    text = {"command": "create", "path": "/memories/notes.md", "file_text": task.strip() + "\n"}
    return Use(hands.memory, text)


def looks_into_memory(hands: Hands) -> Use | None:
    """The first thing a model with a memory tool does: see what is there."""
    return Use(hands.memory, {"command": "view", "path": "/memories"}) if hands.memory else None


def summary_of_table(path: str) -> str:
    """A shell command that says what is in a CSV file: rows, columns, sums and commonest values."""
    lines = (
        "import csv, collections, statistics",
        f"path = {path!r}",
        "with open(path, newline='', encoding='utf-8-sig') as file:",
        _INDENT + "rows = list(csv.DictReader(file, delimiter='\\t' if path.endswith('.tsv') else ','))",
        "print(f'{len(rows)} rows, columns: ' + ', '.join(rows[0] if rows else []))",
        "for name in rows[0] if rows else []:",
        _INDENT + "values = [row[name] for row in rows if row[name] not in ('', None)]",
        _INDENT + "try:",
        _INDENT * 2 + "numbers = [float(value) for value in values]",
        _INDENT * 2 + "mean = statistics.fmean(numbers)",
        _INDENT * 2
        + "print(f'{name}: sum {sum(numbers):.2f}, mean {mean:.2f}, min {min(numbers):g}, max {max(numbers):g}')",
        _INDENT + "except (ValueError, statistics.StatisticsError):",
        _INDENT * 2 + "common = collections.Counter(values).most_common(3)",
        _INDENT * 2 + "print(f'{name}: {len(set(values))} different; ' + ', '.join(f'{v} ({n})' for v, n in common))",
    )
    return "python3 - <<'PY'\n" + "\n".join(lines) + "\nPY"
