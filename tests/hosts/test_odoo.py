"""The module for Odoo of examples/hosts/odoo, in a stand-in: a delivery is captured once."""

from __future__ import annotations

import ast
import datetime
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import Any

import pytest
from odoo_stand_in import (
    SUPERUSER_ID,
    Currency,
    Cursor,
    Database,
    Datetime,
    Environment,
    Model,
    Unit,
    module_of,
)
from parcels import HOSTS
from takings.testing import KlarnaSandbox

FOLDER = HOSTS / "odoo"
PIECE, DOZEN = Unit(1), Unit(12)


class SaleOrder(Model):
    _inherit = "sale.order"


class Line(Model):
    _inherit = "sale.order.line"


class Move(Model):
    _inherit = "stock.move"


class Picking(Model):
    _inherit = "stock.picking"

    def _action_done(self) -> bool:
        for picking in self:
            picking.write({"state": "done"})
            picking.move_ids.write({"state": "done"})
        return True


class Shop:
    """A database of Odoo with the module, and deliveries of one order at Klarna."""

    def __init__(self, klarna: KlarnaSandbox, module: Any) -> None:
        self.klarna, self.module = klarna, module
        models = (SaleOrder, Line, Move, Picking)
        self.database = Database("shop", models, module.stock_picking)

    def delivery(self, order_id: str, name: str, quantity: float = 3, **values: Any) -> int:
        """A delivery of pieces, of a line of one dozen for 120.00."""
        with self.database.cursor() as cr:
            env = Environment(cr, SUPERUSER_ID, {})
            sale = {"klarna_order_id": order_id, "currency_id": Currency("EUR", 2)}
            order = env["sale.order"].create(sale)
            line = env["sale.order.line"].create(
                {"price_total": 120.0, "product_uom_qty": 1, "product_uom": DOZEN}
            )
            moved = {"product_uom": PIECE, "quantity": quantity, "state": "assigned"}
            move = env["stock.move"].create({"sale_line_id": (line._inherit, line.ids), **moved})
            picking = env["stock.picking"].create(
                {
                    "name": name,
                    "state": "assigned",
                    "picking_type_code": "outgoing",
                    "sale_id": (order._inherit, order.ids),
                    "move_ids": (move._inherit, move.ids),
                    **values,
                }
            )
            return int(picking.ids[0])

    def done(self, picking: int, cr: Cursor) -> None:
        Environment(cr, SUPERUSER_ID, {})["stock.picking"].browse(picking)._action_done()

    def ship(self, *pickings: int) -> None:
        with self.database.cursor() as cr:
            for picking in pickings:
                self.done(picking, cr)

    def scheduled(self) -> None:
        with self.database.cursor() as cr:
            Environment(cr, SUPERUSER_ID, {})["stock.picking"]._klarna_capture_open()

    def stored(self, picking: int) -> dict[str, Any]:
        return self.database.records["stock.picking"][picking]


@pytest.fixture
def shop(klarna_env: KlarnaSandbox) -> Iterator[Shop]:
    name = "takings_of_odoo"
    module = module_of(FOLDER, name)
    yield Shop(klarna_env, module)
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == name]:
        del sys.modules[loaded]


def test_goods_that_were_added_to_a_delivery_are_worth_nothing(shop: Shop) -> None:
    order_id = shop.klarna.create_order(3000)
    picking = shop.delivery(order_id, "WH/OUT/00009")
    [line] = shop.database.records["sale.order.line"].values()
    line["product_uom_qty"] = 0
    shop.ship(picking)
    assert not shop.stored(picking).get("klarna_state")
    assert shop.klarna.ledger(order_id) == []


def test_a_delivery_is_captured_after_the_commit(shop: Shop) -> None:
    order_id = shop.klarna.create_order(12000)
    picking = shop.delivery(order_id, "WH/OUT/00001")
    with shop.database.cursor() as cr:
        shop.done(picking, cr)
        assert shop.klarna.requests() == []
    [entry] = shop.klarna.ledger(order_id)
    assert (entry["captured_amount"], entry["reference"]) == (3000, "WH/OUT/00001")
    stored = shop.stored(picking)
    assert stored["klarna_state"] == "captured"
    assert stored["klarna_capture_id"] == entry["capture_id"]
    shop.scheduled()
    assert len(shop.klarna.requests()) == 1


def test_nothing_is_captured_for_a_transaction_that_is_rolled_back(shop: Shop) -> None:
    order_id = shop.klarna.create_order(12000)
    picking = shop.delivery(order_id, "WH/OUT/00001")
    cr = Cursor(shop.database)
    shop.done(picking, cr)
    cr.rollback()
    cr.commit()
    shop.scheduled()
    assert shop.klarna.requests() == []
    assert "klarna_state" not in shop.stored(picking)


def test_an_unknown_outcome_is_settled_by_the_scheduled_action(shop: Shop) -> None:
    # The setting reconcile reads the captures as well, so its answers are lost too.
    order_id = shop.klarna.create_order(12000, faults=["lost_answer"] * 6)
    picking = shop.delivery(order_id, "WH/OUT/00001")
    shop.ship(picking)
    stored = shop.stored(picking)
    assert stored["klarna_state"] == "open"
    assert "may have been captured" in stored["klarna_message"]
    shop.scheduled()
    [entry] = shop.klarna.ledger(order_id)
    stored = shop.stored(picking)
    assert stored["klarna_state"] == "captured"
    assert stored["klarna_capture_id"] == entry["capture_id"]
    assert stored["klarna_message"] is False


def test_a_process_that_dies_after_the_commit(shop: Shop) -> None:
    order_id = shop.klarna.create_order(12000)
    picking = shop.delivery(order_id, "WH/OUT/00001")
    with shop.database.cursor() as cr:
        shop.done(picking, cr)
        cr.postcommit.clear()
    assert shop.klarna.requests() == []
    shop.scheduled()
    assert len(shop.klarna.ledger(order_id)) == 1


def test_two_transactions_that_capture_one_delivery(shop: Shop) -> None:
    order_id = shop.klarna.create_order(12000)
    picking = shop.delivery(order_id, "WH/OUT/00001")
    with shop.database.cursor() as cr:
        shop.done(picking, cr)
        cr.postcommit.clear()
    cursors = [Cursor(shop.database), Cursor(shop.database)]
    for cr in cursors:
        Environment(cr, SUPERUSER_ID, {})["stock.picking"].browse(picking)._klarna_capture()
    cursors[0].commit()
    with pytest.raises(Exception, match=r"stock\.picking"):
        cursors[1].commit()
    assert len(shop.klarna.ledger(order_id)) == 1
    assert shop.stored(picking)["klarna_state"] == "captured"


def test_two_deliveries_of_one_order(shop: Shop) -> None:
    order_id = shop.klarna.create_order(12000)
    first = shop.delivery(order_id, "WH/OUT/00001", 3)
    second = shop.delivery(order_id, "WH/OUT/00002", 9)
    shop.ship(first, second)
    assert [entry["captured_amount"] for entry in shop.klarna.ledger(order_id)] == [3000, 9000]


def test_a_refusal_is_kept(shop: Shop) -> None:
    order_id = shop.klarna.create_order(1000)
    picking = shop.delivery(order_id, "WH/OUT/00001")
    shop.ship(picking)
    stored = shop.stored(picking)
    assert stored["klarna_state"] == "rejected"
    assert "CAPTURE_NOT_ALLOWED" in stored["klarna_message"]
    asked = len(shop.klarna.requests())
    shop.scheduled()
    assert len(shop.klarna.requests()) == asked


def test_a_delivery_that_was_open_for_a_day_needs_a_person(shop: Shop) -> None:
    order_id = shop.klarna.create_order(12000)
    since = Datetime.now() - datetime.timedelta(days=2)
    noted = {"klarna_state": "open", "klarna_amount": 3000, "klarna_since": since}
    picking = shop.delivery(order_id, "WH/OUT/00001", **noted)
    shop.scheduled()
    assert shop.stored(picking)["klarna_state"] == "check"
    assert shop.klarna.ledger(order_id) == []


def test_other_deliveries_are_left_alone(shop: Shop) -> None:
    order_id = shop.klarna.create_order(12000)
    unpaid = shop.delivery("", "WH/OUT/00001")
    incoming = shop.delivery(order_id, "WH/IN/00001", picking_type_code="incoming")
    shop.ship(unpaid, incoming)
    assert shop.klarna.requests() == []
    for picking in (unpaid, incoming):
        assert "klarna_state" not in shop.stored(picking)


def test_a_delivery_that_is_done_again_is_not_captured_again(shop: Shop) -> None:
    order_id = shop.klarna.create_order(12000)
    picking = shop.delivery(order_id, "WH/OUT/00001")
    shop.ship(picking)
    noted = shop.stored(picking)
    shop.ship(picking)
    assert shop.stored(picking) == noted
    assert len(shop.klarna.requests()) == 1


def test_the_files_that_odoo_reads() -> None:
    manifest = ast.literal_eval((FOLDER / "__manifest__.py").read_text())
    assert manifest["depends"] == ["sale_stock"]
    for name in manifest["data"]:
        assert (FOLDER / name).exists()
    [cron] = ElementTree.parse(FOLDER / "cron.xml").getroot()
    fields = {field.get("name"): field for field in cron}
    assert cron.get("model") == "ir.cron"
    assert fields["model_id"].get("ref") == "stock.model_stock_picking"
    [method] = re.findall(r"^model\.(\w+)\(\)$", fields["code"].text or "")
    assert f"def {method}(self)" in (FOLDER / "stock_picking.py").read_text()
