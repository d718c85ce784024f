"""A shop in Django: with_django.py ship ORDER PARCEL AMOUNT, or with_django.py outcomes"""

import json
import os
import sys

import django
import takings
from django.conf import settings
from django.db import DatabaseError, connection, models, transaction

settings.configure(
    DATABASES={
        "default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}
    }
)
django.setup()

# Another transaction inserted the name first, or this one is out of order.
AGAIN = {"23505", "40001", "40P01"}
NEWS = """
    UPDATE takings_capture SET seen_at = clock_timestamp() WHERE id = ANY (ARRAY (
        SELECT id FROM takings_capture
        WHERE settled_at IS NOT NULL AND (seen_at IS NULL OR seen_at < settled_at)
        ORDER BY settled_at LIMIT 100 FOR UPDATE SKIP LOCKED))
    RETURNING reference, state, error_code
"""


class Parcel(models.Model):
    name = models.TextField(primary_key=True)
    order_id = models.TextField()
    state = models.TextField()

    class Meta:
        app_label = "shop"
        managed = False
        db_table = "parcel"


def ship(order_id, parcel, amount):
    intent = takings.intent(order_id, reference=parcel, captured_amount=amount)
    for is_last in (False, False, True):
        try:
            # durable: a part of another could not be run again
            with transaction.atomic(durable=True), connection.cursor() as cursor:
                Parcel.objects.filter(name=parcel, state="packed").update(state="shipped")
                cursor.execute(*intent.insert("%s"))
            return
        except DatabaseError as error:
            if is_last or getattr(error.__cause__, "sqlstate", None) not in AGAIN:
                raise


def outcomes():
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(NEWS)
        news = cursor.fetchall()
        for parcel, state, _ in news:
            Parcel.objects.filter(name=parcel).update(state=state)
    return news


def main(command, *arguments):
    if command == "ship":
        order_id, parcel, amount = arguments
        ship(order_id, parcel, json.loads(amount))
        print(parcel, "shipped")
    else:
        for parcel, state, error_code in outcomes():
            print(parcel, state, error_code or "-")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (takings.InvalidInput, DatabaseError) as error:
        sys.exit(str(error))
