"""Captures at Klarna what a delivery ships, in Odoo 17 and 18.

A delivery that is done is noted as open within Odoo's transaction, and captured
after its commit. The scheduled action calls again for each delivery that is
still open, with the same key. So each delivery is captured once, whatever
happens in between.
"""

import datetime
import functools
import logging

import takings
from odoo import SUPERUSER_ID, api, fields, models
from odoo.modules.registry import Registry

_logger = logging.getLogger(__name__)


@functools.cache
def klarna():
    """The client of this process; KLARNA_* stand in the environment of Odoo's server."""
    # Names of deliveries are unique, so a capture can be found by its
    # reference.
    return takings.Client.from_env(reconcile=True)


def capture_all(database, picking_ids):
    """Captures deliveries, each in a transaction of its own.

    No exception comes out: Odoo has committed, and the user's own work went well.
    """
    for picking_id in picking_ids:
        try:
            with Registry(database).cursor() as cr:
                env = api.Environment(cr, SUPERUSER_ID, {})
                env["stock.picking"].browse(picking_id)._klarna_capture()
        except Exception:
            _logger.exception("delivery %s stays open until the next run", picking_id)


class SaleOrder(models.Model):
    _inherit = "sale.order"

    klarna_order_id = fields.Char(copy=False)


class StockPicking(models.Model):
    _inherit = "stock.picking"

    klarna_state = fields.Selection(
        [
            ("open", "Not known yet"),
            ("captured", "Captured"),
            ("rejected", "Refused by Klarna"),
            ("check", "A person has to check"),
        ],
        copy=False,
        readonly=True,
    )
    # in minor units; stored, so that each call says the same
    klarna_amount = fields.Integer(copy=False, readonly=True)
    # before the first call, in UTC as all of Odoo's times
    klarna_since = fields.Datetime(copy=False, readonly=True)
    klarna_capture_id = fields.Char(copy=False, readonly=True)
    klarna_message = fields.Char(copy=False, readonly=True)

    def _action_done(self):
        result = super()._action_done()
        shipped = self.filtered(
            lambda picking: (
                picking.state == "done"
                and picking.picking_type_code == "outgoing"
                and picking.sale_id.klarna_order_id
                and not picking.klarna_state
            )
        )
        for picking in shipped:
            amount = picking._klarna_amount()
            if amount:
                picking.write(
                    {
                        "klarna_state": "open",
                        "klarna_amount": amount,
                        "klarna_since": fields.Datetime.now(),
                    }
                )
        if shipped:
            self.env.cr.postcommit.add(
                functools.partial(capture_all, self.env.cr.dbname, shipped.ids)
            )
        return result

    def _klarna_amount(self):
        """The worth of the shipped goods with taxes. Override it for delivery charges.

        Goods that were added to the delivery have a line of quantity 0, and no
        price there.
        """
        currency, amount = self.sale_id.currency_id, 0.0
        for move in self.move_ids:
            line = move.sale_line_id
            if line and line.product_uom_qty and move.state == "done":
                shipped = move.product_uom._compute_quantity(move.quantity, line.product_uom)
                amount += line.price_total * shipped / line.product_uom_qty
        # Odoo's amounts are floats. Rounded by the currency they make an exact
        # text.
        text = f"{currency.round(amount):.{currency.decimal_places}f}"
        return takings.minor(text, currency.name)

    def _klarna_capture(self):
        self.ensure_one()
        if self.klarna_state != "open":
            return
        order_id = self.sale_id.klarna_order_id
        try:
            capture = klarna().capture(
                order_id,
                captured_amount=self.klarna_amount,
                reference=self.name,
                idempotency_key=takings.idempotency_key(order_id, self.name),
                first_used=self.klarna_since.replace(tzinfo=datetime.timezone.utc),
            )
        except takings.TakingsError as error:
            state = "rejected" if isinstance(error, takings.Rejected) else "check"
            self.write(
                {
                    # The scheduled action calls again where that can end
                    # differently.
                    "klarna_state": "open" if error.retryable else state,
                    "klarna_message": str(error),
                }
            )
        else:
            self.write(
                {
                    "klarna_state": "captured",
                    "klarna_capture_id": capture.capture_id,
                    "klarna_message": False,
                }
            )

    @api.model
    def _klarna_capture_open(self):
        """For the scheduled action."""
        left = self.search([("klarna_state", "=", "open")], order="klarna_since", limit=100)
        capture_all(self.env.cr.dbname, left.ids)
