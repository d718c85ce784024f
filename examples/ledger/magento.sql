-- Invoices of Magento 2 that Klarna's extension (klarna_core_order) took the order for: relay.sh magento.sql
-- Create invoices as "Not Capture" (capture_case not_capture), or the extension captures them too.
SELECT JSON_OBJECT(
  'order_id', klarna.klarna_order_id,
  'reference', CONCAT('invoice-', invoice.increment_id),
  -- Magento keeps four decimals; an amount with more than two is not rounded but refused.
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
