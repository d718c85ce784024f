"""A shop over SQLAlchemy: with_sqlalchemy.py ship ORDER PARCEL AMOUNT, or … outcomes"""

import json
import sys

import takings
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

# Another transaction inserted the name first, or this one is out of order.
AGAIN = {"23505", "40001", "40P01"}
SHIPPED = text("UPDATE parcel SET state = 'shipped' WHERE name = :parcel AND state = 'packed'")
ENDED = text("UPDATE parcel SET state = :state WHERE name = :parcel")
NEWS = text("""
    UPDATE takings_capture SET seen_at = clock_timestamp() WHERE id = ANY (ARRAY (
        SELECT id FROM takings_capture
        WHERE settled_at IS NOT NULL AND (seen_at IS NULL OR seen_at < settled_at)
        ORDER BY settled_at LIMIT 100 FOR UPDATE SKIP LOCKED))
    RETURNING reference, state, error_code
""")


def ship(engine, order_id, parcel, amount):
    intent = takings.intent(order_id, reference=parcel, captured_amount=amount)
    statement, values = intent.insert(":name")
    for is_last in (False, False, True):
        try:
            with Session(engine) as session, session.begin():
                session.execute(SHIPPED, {"parcel": parcel})
                session.execute(text(statement), values)
            return
        except DBAPIError as error:
            if is_last or getattr(error.orig, "sqlstate", None) not in AGAIN:
                raise


def outcomes(engine):
    with Session(engine) as session, session.begin():
        news = session.execute(NEWS).all()
        for parcel, state, _ in news:
            session.execute(ENDED, {"parcel": parcel, "state": state})
    return news


def main(command, *arguments):
    engine = create_engine("postgresql+psycopg://")
    if command == "ship":
        order_id, parcel, amount = arguments
        ship(engine, order_id, parcel, json.loads(amount))
        print(parcel, "shipped")
    else:
        for parcel, state, error_code in outcomes(engine):
            print(parcel, state, error_code or "-")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (takings.InvalidInput, DBAPIError) as error:
        sys.exit(str(error))
