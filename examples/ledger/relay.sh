#!/usr/bin/env bash
# Relays from a shop's MySQL or MariaDB: relay.sh QUERY. Run it every minute,
# and as often as you like.
#
# QUERY is a file with a SELECT of one column: a JSON object for each parcel
# without an outcome. Outcomes go into the table of outcome.sql.
#
#   SHOP             options of mysql: --defaults-extra-file=/etc/shop.cnf shop
#   TAKINGS_LEDGER   the ledger's URL; the same place for psql: PGHOST, PGDATABASE …
set -euo pipefail
read -ra shop <<<"$SHOP"
parcels=$(mktemp)
trap 'rm -f "$parcels"' EXIT

shop() { mysql "${shop[@]}" --batch --raw --skip-column-names --default-character-set=utf8mb4; }
ledger() { psql --no-psqlrc --quiet --no-align --tuples-only --set ON_ERROR_STOP=1; }

# The same parcel again does nothing, so a crash loses and doubles nothing.
shop <"$1" >"$parcels"
[ ! -s "$parcels" ] || takings enqueue - <"$parcels"

# Outcomes are marked as seen only once the shop has them. A row that is settled
# in between stays news.
since=$(ledger <<<"SELECT clock_timestamp()")
news=$(ledger <<<"SELECT id FROM takings_capture
    WHERE settled_at IS NOT NULL AND (seen_at IS NULL OR seen_at < settled_at) AND settled_at <= '$since'
    ORDER BY settled_at LIMIT 1000" | paste -sd,)
[ -n "$news" ] || exit 0
# Texts go as hexadecimal digits, which need no quoting.
text() { echo "'CONVERT(x''' || encode(convert_to(coalesce($1, ''), 'UTF8'), 'hex') || ''' USING utf8mb4)'"; }
ledger <<<"SELECT 'REPLACE INTO takings_outcome (order_id, reference, state, error_code) VALUES (' || $(text order_id)
    || ', ' || $(text reference) || ', ' || $(text state) || ', ' || $(text error_code) || ');'
    FROM takings_capture WHERE id = ANY ('{$news}')" | shop
ledger <<<"UPDATE takings_capture SET seen_at = '$since' WHERE id = ANY ('{$news}')"
