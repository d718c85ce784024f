-- relay.sh magento.sql: Magento 2's invoices of orders of Klarna's extension.
-- Create them as "Not Capture", or the extension captures them too.
SELECT JSON_OBJECT(
  'order_id', klarna.klarna_order_id,
  'reference', CONCAT('invoice-', invoice.increment_id),
  -- Four decimals are kept: more than two are refused, not rounded.
  'amount', TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST(invoice.grand_total AS CHAR))),
  'currency', invoice.order_currency_code
)
FROM sales_invoice AS invoice
JOIN klarna_core_order AS klarna ON klarna.order_id = invoice.order_id
WHERE invoice.state = 1 -- open: not paid yet
  AND NOT EXISTS (
    SELECT 1 FROM takings_outcome AS outcome
    WHERE outcome.order_id = klarna.klarna_order_id
      AND outcome.reference = CONCAT('invoice-', invoice.increment_id)
  );
