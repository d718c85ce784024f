"""A file of parcels, whose program is killed at ten points and run again."""

from __future__ import annotations

import csv
import random
import signal
import time
from collections.abc import Callable

from shop import SOAK, Shop
from support import until

PARCELS = 50_000 if SOAK else 5_000
KILLS = 10
FAULTS = [{"fault": "lost_answer"}, {"fault": "reset_before_commit"}, {"fault": "close_mid_answer"}]


def has_captured(shop: Shop, parcels: float) -> Callable[[], bool]:
    return lambda: shop.count("state = 'captured'") >= parcels


def test_a_file_is_captured_once_whatever_is_killed(shop: Shop) -> None:
    chance = random.Random(11)
    orders = shop.orders(chance.sample(FAULTS, k=n % 20 == 0) for n in range(PARCELS // 10))
    file = shop.folder / "shipments.csv"
    with file.open("w", newline="") as output:
        writer = csv.writer(output)
        writer.writerow(["order_id", "reference", "captured_amount"])
        writer.writerows((order, f"p-{n}", 100 + n) for order in orders for n in range(10))
    words = ["capture-file", str(file), "--yes"]
    # Three kills come while the file is read and enqueued, the others after a part was captured.
    for share in [0, 0, 0, *sorted(chance.uniform(0, 0.9) for _ in range(KILLS - 3))]:
        with shop.start(*words) as program:
            if share:
                wanted = share * PARCELS
                until(has_captured(shop, wanted), within=600, what=f"{wanted:.0f} are captured")
            else:
                time.sleep(chance.uniform(0, 0.3))
            program.process.send_signal(signal.SIGKILL)
            assert program.process.wait() == -signal.SIGKILL, shop.said()
        shop.hurry()
    for _ in range(5):
        with shop.start(*words) as program:
            if program.process.wait(timeout=600) == 0:
                break
        shop.hurry()
    with (shop.folder / "shipments.csv.report.csv").open() as report:
        states = [line["state"] for line in csv.DictReader(report)]
    assert states == ["captured"] * PARCELS
    shop.is_right(PARCELS)
