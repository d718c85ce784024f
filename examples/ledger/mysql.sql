-- Parcels of a shop with a table of its own: relay.sh mysql.sql
SELECT JSON_OBJECT('order_id', order_id, 'reference', name, 'captured_amount', amount)
FROM parcel
WHERE state = 'shipped'
  AND (order_id, name) NOT IN (SELECT order_id, reference FROM takings_outcome);
