"""A shop that inserts with this Python's SQLite: inserts.py LEDGER ORDER AMOUNT NAMES

It waits for a line of input. It prints a JSON list of the names that were refused.
"""

import json
import sqlite3
import sys

ledger, order, amount, names = sys.argv[1:]
INSERT = "INSERT INTO takings_capture (order_id, reference, captured_amount) VALUES (?, ?, ?)"
SAID = "enqueued before with another content"
db = sqlite3.connect(ledger, timeout=60)
print("ready", flush=True)
sys.stdin.readline()
refused = []
for name in range(int(names)):
    try:
        with db:
            db.execute(INSERT, (order, f"p-{name}", int(amount)))
    except sqlite3.IntegrityError as error:
        if SAID not in str(error):
            raise
        refused.append(f"p-{name}")
print(json.dumps(refused))
