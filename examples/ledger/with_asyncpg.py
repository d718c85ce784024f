"""A shop over asyncpg: with_asyncpg.py ship ORDER PARCEL AMOUNT, or with_asyncpg.py outcomes"""

import asyncio
import json
import sys

import asyncpg
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


async def ship(db, order_id, parcel, amount):
    intent = takings.intent(order_id, reference=parcel, captured_amount=amount)
    statement, values = intent.insert("$1")
    for is_last in (False, False, True):
        try:
            async with db.transaction():
                await db.execute(
                    "UPDATE parcel SET state = 'shipped' WHERE name = $1 AND state = 'packed'",
                    parcel,
                )
                await db.execute(statement, *values)
            return
        except asyncpg.PostgresError as error:
            if is_last or error.sqlstate not in AGAIN:
                raise


async def outcomes(db):
    async with db.transaction():
        news = await db.fetch(NEWS)
        for parcel, state, _ in news:
            await db.execute("UPDATE parcel SET state = $1 WHERE name = $2", state, parcel)
    return news


async def main(command, *arguments):
    # For PgBouncer: no statement outlives its transaction.
    db = await asyncpg.connect(statement_cache_size=0)
    try:
        if command == "ship":
            order_id, parcel, amount = arguments
            await ship(db, order_id, parcel, json.loads(amount))
            print(parcel, "shipped")
        else:
            for parcel, state, error_code in await outcomes(db):
                print(parcel, state, error_code or "-")
    finally:
        await db.close()


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except (takings.InvalidInput, asyncpg.PostgresError) as error:
        sys.exit(str(error))
