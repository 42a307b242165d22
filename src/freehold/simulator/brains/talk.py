"""Answers without tools: sums, what was said earlier, greetings, and an honest word on being a simulator."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from freehold.simulator.brains.situation import Situation
from freehold.simulator.reading.words import stem, words

_SUM = re.compile(r"(?<![\w.(])[(\d][\d\s.,()+*/×÷^%-]{0,100}[-+*/×÷^%][\d\s.,()+*/×÷^%-]{0,100}\d\){0,10}")
_GREETING = re.compile(
    r"^\s*(?:(?:hi|hello|hey|good (?:morning|evening|afternoon))\b|你好|您好|嗨|早上好|晚上好)", re.I
)
_THANKS = re.compile(r"\b(?:thanks|thank you|cheers)\b|谢谢|多谢|感谢", re.I)
_ABOUT_EARLIER = re.compile(r"\b(?:my|i|we|earlier|before|again|said|told|you)\b|我|之前|刚才|刚刚|前面", re.I)
_QUESTION = re.compile(r"[?？]|\b(?:what|who|which|when|where|how)\b|什么|谁|哪|多少|几", re.I)
_ROLE = re.compile(
    r"\b(?:You are|Act as)\s+((?:an?|the)\s+[^.\n。]{2,80}|[A-Z][\w -]{1,40})|你是(?:一[个名位])?([^。，\n]{2,40})"
)
_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_EMPTY_TEXT = "what who which when where how is are was did do my me you the an of to in it that and"
_EMPTY = frozenset(_EMPTY_TEXT.split())
_MOST = 20_000
_MOST_EARLIER = 200
_LARGEST = Fraction(10**30)


def talk(situation: Situation) -> str:
    """An answer in the user's language."""
    for attempt in (_sum, _recall, _courtesy):
        said = attempt(situation)
        if said:
            return said
    return _plain(situation)


def _sum(situation: Situation) -> str | None:
    found = _SUM.search(situation.around)
    if not found:
        return None
    expression = found.group().strip()
    value = calculate(expression)
    return None if value is None else f"{expression} = {value}"


def calculate(expression: str) -> str | None:
    """The value of a sum such as `17 * (3 + 4)`, or `None` if it is not one, or too large."""
    plain = expression.replace("×", "*").replace("÷", "/").replace(",", "")
    if len(plain) > 200:
        return None
    try:
        value = _value(ast.parse(plain.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None
    return str(value) if value.denominator == 1 else f"{float(value):.6g}"


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        value = Fraction(str(node.value))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = -_value(node.operand)
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        value = _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    else:
        raise ValueError("not a sum")
    if abs(value) > _LARGEST:
        raise ValueError("too large")
    return value


def _recall(situation: Situation) -> str | None:
    """A question about what was said before is answered with the user's own sentence."""
    if not situation.earlier or not _QUESTION.search(situation.around) or not _ABOUT_EARLIER.search(situation.around):
        return None
    asked = _matter(situation.around)
    best, hits = "", 0
    for role, text in situation.earlier[-_MOST_EARLIER:]:
        for sentence in _sentences(text) if role == "user" else ():
            common = len(_matter(sentence) & asked)
            if common >= max(1, hits) and not _QUESTION.search(sentence):
                best, hits = sentence, common
    if not best:
        return None
    return f"你之前说过：“{best}”" if situation.chinese else f"You told me earlier: “{best}”"


def _matter(text: str) -> frozenset[str]:
    """The words two sentences can have in common; here “name” counts, which says nothing of a tool."""
    plain = {stem(word) for word in re.findall(r"[A-Za-z]{2,}", text[:_MOST])}
    return (words(text) | plain) - _EMPTY


def _sentences(text: str) -> Sequence[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?。！？])\s*|\n+", text[:20_000]) if part.strip()]


def _courtesy(situation: Situation) -> str | None:
    if _GREETING.search(situation.around) and len(situation.around) < 60:
        role = _role(situation)
        if situation.chinese:
            return f"你好！{f'我是{role}。' if role else ''}有什么可以帮你的？"
        return f"Hello! {f'I am {role}. ' if role else ''}What can I do for you?"
    if _THANKS.search(situation.around) and len(situation.around) < 80:
        return "不客气！" if situation.chinese else "You are welcome!"
    return None


def _role(situation: Situation) -> str:
    found = _ROLE.search(situation.system)
    return next((group.strip() for group in found.groups() if group), "") if found else ""


def _plain(situation: Situation) -> str:
    first = " ".join(situation.around.split())
    topic = first if len(first) <= 160 else first[:159] + "…"
    role = _role(situation)
    if situation.chinese:
        return (
            f"{f'作为{role}，' if role else ''}我收到了你的消息：“{topic}”。这是离线模拟器的回答：它没有自己的知识，"
            "但会调用给它的工具、运行代码块、读写文件，并如实报告结果。"
        )
    opening = f"As {role}: " if role else ""
    return (
        f"{opening}I read your message: “{topic}”. This answer comes from the offline simulator: it has no knowledge "
        "of its own, but it calls the tools it is given, runs code blocks, works on files, and reports what came back."
    )
