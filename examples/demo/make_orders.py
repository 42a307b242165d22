"""Makes the orders of a small shop: 6,000 rows, the same every time, as a CSV file.

python make_orders.py orders.csv
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

FIRST_USER, USERS = 1001, 400
FIRST_DAY, DAYS = date(2026, 1, 1), 320
CITIES = ("上海", "北京", "深圳", "成都", "Berlin", "Lyon", "Porto", "Tokyo")
PRICES = {
    "绿茶 Green tea": 4800,
    "茶壶 Teapot": 26800,
    "砚台 Inkstone": 39900,
    "毛笔 Brush": 8600,
    "宣纸 Rice paper": 5200,
}
STATUSES = ("delivered", "delivered", "delivered", "delivered", "shipped", "paid", "returned")


class Order(NamedTuple):
    """One row; `amount_cents` is quantity times price, in cents of a yuan."""

    order_id: int
    user_id: int
    placed_on: str
    city: str
    product: str
    quantity: int
    amount_cents: int
    status: str


def orders(rows: int = 6000, seed: int = 7) -> Iterator[Order]:
    """The rows, in the order of their ids."""
    chance = random.Random(seed)
    for number in range(rows):
        product, price = chance.choice(list(PRICES.items()))
        quantity = chance.choice((1, 1, 1, 2, 2, 3, 5))
        yield Order(
            order_id=50001 + number,
            user_id=FIRST_USER + chance.randrange(USERS),
            placed_on=(FIRST_DAY + timedelta(days=chance.randrange(DAYS))).isoformat(),
            city=chance.choice(CITIES),
            product=product,
            quantity=quantity,
            amount_cents=quantity * price,
            status=chance.choice(STATUSES),
        )


def write(path: Path, rows: int = 6000) -> int:
    """Write the CSV; its size in bytes."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Order._fields)
        writer.writerows(orders(rows))
    return path.stat().st_size


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "orders.csv")
    print(f"{target}: {write(target)} bytes")
