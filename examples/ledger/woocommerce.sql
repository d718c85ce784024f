-- Completed orders of WooCommerce (HPOS) that were paid by Klarna's plugin:
-- relay.sh woocommerce.sql
-- Turn off the plugin's own capture on completion, or it captures them too.
SELECT JSON_OBJECT(
  'order_id', klarna.meta_value,
  'reference', CONCAT('order-', wc.id),
  -- Eight decimals are kept: more than two are refused, not rounded.
  'amount', TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM CAST(wc.total_amount AS CHAR))),
  'currency', wc.currency
)
FROM wp_wc_orders AS wc
JOIN wp_wc_orders_meta AS klarna ON klarna.order_id = wc.id AND klarna.meta_key = '_wc_klarna_order_id'
WHERE wc.type = 'shop_order'
  AND wc.status = 'wc-completed'
  AND NOT EXISTS (
    SELECT 1 FROM takings_outcome AS outcome
    WHERE outcome.order_id = klarna.meta_value
      AND outcome.reference = CONCAT('order-', wc.id)
  );
