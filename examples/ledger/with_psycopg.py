"""A shop over psycopg: with_psycopg.py ship ORDER PARCEL AMOUNT, or with_psycopg.py outcomes

The variables of libpq (PGHOST, PGDATABASE, PGUSER) name the database, as in every program here.
"""

import json
import sys

import psycopg
import takings

# Another transaction inserted the name first, or this one is out of order.
AGAIN = {"23505", "40001", "40P01"}
NEWS = """
    UPDATE takings_capture SET seen_at = clock_timestamp() WHERE id = ANY (ARRAY (
        SELECT id FROM takings_capture
        WHERE settled_at IS NOT NULL AND (seen_at IS NULL OR seen_at < settled_at)
        ORDER BY settled_at LIMIT 100 FOR UPDATE SKIP LOCKED))
    RETURNING reference, state, error_code
"""


def ship(db, order_id, parcel, amount):
    intent = takings.intent(order_id, reference=parcel, captured_amount=amount)
    for is_last in (False, False, True):
        try:
            with db.transaction():
                db.execute(
                    "UPDATE parcel SET state = 'shipped' WHERE name = %s AND state = 'packed'",
                    [parcel],
                )
                db.execute(*intent.insert("%s"))
            return
        except psycopg.Error as error:
            if is_last or error.sqlstate not in AGAIN:
                raise


def outcomes(db):
    with db.transaction():
        news = db.execute(NEWS).fetchall()
        for parcel, state, _ in news:
            db.execute("UPDATE parcel SET state = %s WHERE name = %s", [state, parcel])
    return news


def main(command, *arguments):
    with psycopg.connect(autocommit=True) as db:
        if command == "ship":
            order_id, parcel, amount = arguments
            ship(db, order_id, parcel, json.loads(amount))
            print(parcel, "shipped")
        else:
            for parcel, state, error_code in outcomes(db):
                print(parcel, state, error_code or "-")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (takings.InvalidInput, psycopg.Error) as error:
        sys.exit(str(error))
