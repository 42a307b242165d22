"""A toolbox over a company's own database: three functions that an agent may call.

    freehold serve --tools company.py

The database is SQLite, in the file that COMPANY_DB names (`company.db` here if it is not set); it is made on first use.
The functions only read: their connections are opened read-only.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import make_orders
from anthropic import beta_async_tool, beta_tool

DATABASE = Path(os.environ.get("COMPANY_DB", "company.db"))
SCHEMA = """
CREATE TABLE users (user_id INTEGER PRIMARY KEY, name TEXT, city TEXT, tier TEXT, joined_on TEXT);
CREATE TABLE orders (order_id INTEGER PRIMARY KEY, user_id INTEGER, placed_on TEXT, city TEXT, product TEXT,
                     quantity INTEGER, amount_cents INTEGER, status TEXT);
CREATE TABLE activity (user_id INTEGER, day TEXT, kind TEXT, detail TEXT);
CREATE INDEX orders_of ON orders (user_id, placed_on);
CREATE INDEX activity_of ON activity (user_id, day);
"""


@beta_tool
def find_user(user_id: int) -> str:
    """查询用户资料：姓名、城市、等级、注册日期。Look up a user: name, city, tier, date of joining.

    Args:
        user_id: 用户编号，例如 1042。The user's number, such as 1042.
    """
    rows = query("SELECT * FROM users WHERE user_id = ?", user_id)
    if not rows:
        raise LookupError(f"没有编号为 {user_id} 的用户。There is no user {user_id}; numbers run from 1001 to 1400.")
    return told(rows[0])


@beta_tool
def list_orders(
    user_id: int, status: Literal["paid", "shipped", "delivered", "returned"] | None = None, limit: int = 5
) -> str:
    """查询用户的订单：数量、总额、最近几笔。List the orders of a user: how many, their total, the latest ones.

    Args:
        user_id: 用户编号。The user's number.
        status: 只看这种状态的订单。Only orders in this state.
        limit: 列出最近几笔。How many of the latest to list.
    """
    rows = query(
        "SELECT * FROM orders WHERE user_id = ? AND (? IS NULL OR status = ?) ORDER BY placed_on DESC",
        *(user_id, status, status),
    )
    total = sum(row["amount_cents"] for row in rows)
    return told({"orders": len(rows), "total_yuan": total / 100, "latest": rows[: max(0, limit)]})


@beta_async_tool
async def recent_activity(user_id: int, days: int = 30) -> str:
    """查询用户最近的活动：登录、浏览、客服。Show a user's recent activity: logins, visits, support.

    Args:
        user_id: 用户编号。The user's number.
        days: 最近多少天。How many days back.
    """
    since = make_orders.FIRST_DAY + timedelta(days=make_orders.DAYS - days)
    statement = "SELECT day, kind, detail FROM activity WHERE user_id = ? AND day >= ? ORDER BY day DESC"
    return told(await asyncio.to_thread(query, statement, user_id, since.isoformat()))


def query(statement: str, *values: object) -> list[dict[str, Any]]:
    """Rows as dictionaries, over a connection that cannot write."""
    with closing(sqlite3.connect(f"{DATABASE.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement, values)]


def told(value: object) -> str:
    """What the model reads: JSON, with Chinese as Chinese."""
    return json.dumps(value, ensure_ascii=False)


def make_database(path: Path) -> None:
    """Write users, orders (the same as `make_orders.py`) and activity; the same every time."""
    chance = random.Random(11)
    fresh = path.with_suffix(f".{os.getpid()}.tmp")
    fresh.unlink(missing_ok=True)
    with closing(sqlite3.connect(fresh)) as connection, connection:
        connection.executescript(SCHEMA)
        numbers = range(make_orders.FIRST_USER, make_orders.FIRST_USER + make_orders.USERS)
        connection.executemany("INSERT INTO users VALUES (?, ?, ?, ?, ?)", [user(number, chance) for number in numbers])
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)", make_orders.orders())
        activity = [event(number, chance) for number in numbers for _ in range(20)]
        connection.executemany("INSERT INTO activity VALUES (?, ?, ?, ?)", activity)
    fresh.replace(path)


def user(number: int, chance: random.Random) -> tuple[int, str, str, str, str]:
    """One row of users."""
    name = chance.choice("王李张刘陈杨赵黄周吴") + chance.choice(("敏", "伟", "静", "洋", "艳", "磊", "娜", "强"))
    joined = date(2023, 1, 1) + timedelta(days=chance.randrange(1000))
    return number, name, chance.choice(make_orders.CITIES), chance.choice(("basic", "silver", "gold")), str(joined)


def event(number: int, chance: random.Random) -> tuple[int, str, str, str]:
    """One row of activity."""
    day = make_orders.FIRST_DAY + timedelta(days=chance.randrange(make_orders.DAYS))
    kind = chance.choice(("login", "visit", "support"))
    detail = {
        "login": "手机 phone",
        "visit": chance.choice(list(make_orders.PRICES)),
        "support": "退款 refund question",
    }
    return number, str(day), kind, detail[kind]


if not DATABASE.exists():
    make_database(DATABASE)
