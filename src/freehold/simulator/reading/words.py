"""Words that mean something, in Chinese and English, brought to one form so that they can be compared."""

from __future__ import annotations

import functools
import re

_WORD = re.compile(r"[A-Za-z][a-z]+|[A-Z]{2,}(?![a-z])|[A-Za-z]|[0-9]+")
_HAN = re.compile(r"[\u4e00-\u9fff]+")

_SHORT = 500
"""Characters up to which a text is remembered with its words: tool names and descriptions come again and again."""
_MOST = 20_000

_STOP_TEXT = (
    "a about after all also an and any are as at be been before but by call calls can could data did do "
    "does each every for from function get gets give given go had has have help her his how i id ids if "
    "in into is it its json just let like list look made make me more my name need new no not now number "
    "object of off on one only optional or our out please result results return returned returns run s "
    "show so some specified string such t tell than that the their them then there these they this those "
    "to tool tools up us use using value values via want was we were what when where which while who will "
    "with would you your"
)
STOP = frozenset(_STOP_TEXT.split())
_GENERIC_TEXT = (
    "add all api by call check create data delete detail details do edit execute fetch find for get info "
    "information list load look lookup make mcp of query read remove retrieve run search send set show "
    "tool update view write"
)
GENERIC = frozenset(_GENERIC_TEXT.split())

CHINESE: dict[str, str] = {
    "用户": "user",
    "客户": "customer",
    "顾客": "customer",
    "会员": "member",
    "账户": "account",
    "账号": "account",
    "订单": "order",
    "下单": "order",
    "活动": "activity",
    "动态": "activity",
    "行为": "activity",
    "活跃": "activity",
    "登录": "login",
    "天气": "weather",
    "气温": "weather",
    "温度": "temperature",
    "库存": "stock inventory",
    "产品": "product",
    "商品": "product",
    "价格": "price",
    "报价": "quote price",
    "发票": "invoice",
    "付款": "payment",
    "支付": "payment",
    "退款": "refund",
    "搜索": "search",
    "检索": "search retrieve",
    "查询": "query lookup",
    "查找": "find search",
    "邮件": "email mail",
    "邮箱": "email",
    "文件": "file",
    "目录": "directory folder",
    "销售": "sales",
    "报告": "report",
    "报表": "report",
    "时间": "time",
    "日期": "date",
    "城市": "city",
    "计算": "calculate compute",
    "翻译": "translate",
    "股票": "stock ticker",
    "汇率": "exchange rate currency",
    "账单": "bill invoice",
    "余额": "balance",
    "物流": "shipping delivery",
    "快递": "shipping delivery",
    "日志": "log",
    "员工": "employee",
    "部门": "department",
    "会议": "meeting",
    "日程": "calendar schedule",
    "日历": "calendar",
    "任务": "task",
    "知识": "knowledge",
    "文档": "document",
    "数据库": "database",
    "新闻": "news",
    "航班": "flight",
    "酒店": "hotel",
    "预订": "book reservation",
    "取消": "cancel",
    "删除": "delete",
    "创建": "create",
    "新建": "create",
    "更新": "update",
    "修改": "update edit",
    "发送": "send",
    "通知": "notify notification",
    "工单": "ticket",
    "评论": "comment review",
    "统计": "statistics count",
    "记忆": "memory",
    "记住": "memory remember",
    "地址": "address",
    "电话": "phone",
    "仓库": "warehouse",
    "供应商": "supplier vendor",
    "合同": "contract",
    "项目": "project",
    "团队": "team",
    "版本": "version",
    "部署": "deploy deployment",
    "代码": "code",
    "测试": "test",
}


def chinese(text: str) -> bool:
    """Whether a person wrote this in Chinese: more than a tenth of its letters outside code are Han."""
    if text.isascii():
        return False
    plain = re.sub(r"```.*?```|`[^`]*`", " ", text, flags=re.S)
    han = sum(len(run) for run in _HAN.findall(plain))
    latin = len(re.findall(r"[A-Za-z]+", plain))
    return han > 0 and han * 2 >= latin


def stem(word: str) -> str:
    """A word in its plainest form: lower case, without plural and the commonest endings."""
    word = word.lower()
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        if len(word) > len(ending) + 3 and word.endswith(ending):
            word = word[: -len(ending)]
            return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls" else word
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def words(text: str) -> frozenset[str]:
    """The meaningful words of a text, stemmed; Chinese ones by their English meaning and as pairs of characters.

    Of a very long text only the beginning is read.
    """
    return _remembered(text) if len(text) <= _SHORT else _words(text[:_MOST])


def _words(text: str) -> frozenset[str]:
    found = {stem(word) for word in _WORD.findall(text.replace("_", " "))}
    for run in _HAN.findall(text):
        for term, meaning in CHINESE.items():
            if term in run:
                found.update(meaning.split())
        found.update(run[at : at + 2] for at in range(len(run) - 1))
    return frozenset(word for word in found if word not in STOP and (len(word) > 1 or not word.isascii()))


_remembered = functools.lru_cache(maxsize=2048)(_words)
