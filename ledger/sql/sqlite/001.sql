-- The tables of a ledger in SQLite. A shop inserts into takings_capture and takings_refund, over any SQLite from 3.8.3 on:
-- its library runs the defaults, checks and triggers below, so they use nothing newer (no STRICT, no JSON functions).
-- Times are whole milliseconds since 1970 (UTC).

CREATE TABLE takings_ledger (
  version       INTEGER NOT NULL,
  -- Workers of an older version must not run on these tables.
  oldest_worker INTEGER NOT NULL,
  -- Counts the claims. The worker's lock file has a copy: a ledger behind it was restored from a backup.
  claims        INTEGER NOT NULL DEFAULT 0,
  -- The file in which these tables were made.
  origin        TEXT,
  -- The ledger that has these rows since. They are dead here.
  moved_to      TEXT
);
INSERT INTO takings_ledger (version, oldest_worker) VALUES (1, 1);

CREATE TABLE takings_account (
  account      TEXT PRIMARY KEY NOT NULL,
  -- Bound by the first worker. A worker for another place is refused.
  base_url     TEXT,
  merchant     TEXT,
  -- The person who bound it anew.
  bound_by     TEXT,
  per_second   REAL NOT NULL DEFAULT 180,
  burst        REAL NOT NULL DEFAULT 15,
  -- The rate that Klarna's limit left, and since when. It comes back by itself.
  slowed       REAL,
  slowed_at    INTEGER,
  tokens       REAL NOT NULL DEFAULT 15,
  tokens_at    INTEGER NOT NULL DEFAULT 0,
  -- How often in a row it was paused. Above 0 one row at a time probes.
  trouble      INTEGER NOT NULL DEFAULT 0,
  paused_until INTEGER NOT NULL DEFAULT 0,
  paused_why   TEXT,
  -- Rows that were enqueued before are looked for first.
  look_until   INTEGER NOT NULL,
  -- When the ledger was made, or restored.
  look_since   INTEGER NOT NULL,
  -- The latest time that a worker saw here.
  seen_at      INTEGER NOT NULL DEFAULT 0,
  alert_at     INTEGER
);

-- The requests of rows that did not end well at once.
CREATE TABLE takings_attempt (
  kind           TEXT NOT NULL CHECK (kind IN ('capture', 'refund')),
  row            INTEGER NOT NULL,
  sends          INTEGER NOT NULL,
  n              INTEGER NOT NULL,
  at             INTEGER NOT NULL,
  took_ms        INTEGER NOT NULL,
  sent           TEXT NOT NULL,
  came_back      TEXT NOT NULL,
  http_status    INTEGER,
  error_code     TEXT,
  correlation_id TEXT,
  PRIMARY KEY (kind, row, sends, n)
);

CREATE TABLE takings_capture (
  id              INTEGER PRIMARY KEY,
  account         TEXT NOT NULL DEFAULT 'default',
  order_id        NOT NULL,
  -- The capture's own name: unique in its order, sent to Klarna as `reference`, and the source of its idempotency key.
  reference       NOT NULL,
  -- Minor units: 60.00 is 6000. A column without a type converts nothing; INTEGER would make 60 of '60.00'.
  captured_amount NOT NULL,
  -- The other fields of Klarna's request, as a JSON object. Workers wipe it some time after the end.
  request,
  request_wiped_at INTEGER,
  enqueued_at     INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
  state           TEXT NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'sending', 'unclear', 'captured', 'rejected', 'stuck', 'cancelled')),
  -- When something is to be done about it; while 'sending' the end of the lease; NULL: nothing.
  due_at          INTEGER DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
  -- The claims so far. A worker's word counts while this is the number of its claim.
  sends           INTEGER NOT NULL DEFAULT 0,
  -- The unclear ends so far: the place in the schedule.
  tries           INTEGER NOT NULL DEFAULT 0,
  -- A request may have been carried out. Never set back.
  maybe           INTEGER NOT NULL DEFAULT 0 CHECK (maybe IN (0, 1)),
  -- Klarna refused it although an earlier request may have been carried out: only a look is left.
  refused         INTEGER NOT NULL DEFAULT 0 CHECK (refused IN (0, 1)),
  last_sent_at    INTEGER,
  -- When the last look began that did not find it.
  looked_at       INTEGER,
  -- Only where a person gave it a new one.
  idempotency_key TEXT,
  -- Empty if Klarna named none.
  capture_id      TEXT,
  correlation_id  TEXT,
  settled_at      INTEGER,
  settled_by      TEXT,
  -- Set by the shop, once it has taken the outcome over.
  seen_at         INTEGER,
  alert_at        INTEGER,
  why             TEXT,
  http_status     INTEGER,
  error_code      TEXT,
  note            TEXT,
  CHECK ((state = 'captured') = (capture_id IS NOT NULL)),
  CHECK ((state IN ('captured', 'rejected', 'stuck', 'cancelled')) = (due_at IS NULL)),
  CHECK ((due_at IS NULL) = (settled_at IS NOT NULL)),
  UNIQUE (account, order_id, reference)
);
CREATE INDEX takings_capture_due ON takings_capture (account, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX takings_capture_alert ON takings_capture (alert_at) WHERE alert_at IS NOT NULL;
CREATE INDEX takings_capture_news ON takings_capture (settled_at) WHERE settled_at IS NOT NULL AND seen_at IS NULL;
CREATE INDEX takings_capture_found ON takings_capture (capture_id) WHERE capture_id IS NOT NULL;

-- RAISE(ABORT) also stops an INSERT OR IGNORE, which would step over a CHECK without a word.
CREATE TRIGGER takings_capture_enqueue BEFORE INSERT ON takings_capture
BEGIN
  SELECT RAISE(ABORT, 'takings: this ledger was moved; takings doctor says where it is now')
    WHERE EXISTS (SELECT 1 FROM takings_ledger WHERE moved_to IS NOT NULL);
  SELECT RAISE(ABORT, 'takings: there is no such account in takings_account')
    WHERE NOT EXISTS (SELECT 1 FROM takings_account WHERE account = NEW.account);
  SELECT RAISE(ABORT, 'takings: order_id must be a text of 1 to 255 characters')
    WHERE typeof(NEW.order_id) <> 'text' OR length(NEW.order_id) NOT BETWEEN 1 AND 255 OR instr(NEW.order_id, char(0)) > 0;
  SELECT RAISE(ABORT, 'takings: order_id must be in small letters, as Klarna writes it')
    WHERE NEW.order_id GLOB '????????-????-????-????-????????????' AND NEW.order_id <> lower(NEW.order_id);
  SELECT RAISE(ABORT, 'takings: reference must be a text of 1 to 255 characters, another for each capture of the order')
    WHERE typeof(NEW.reference) <> 'text' OR length(NEW.reference) NOT BETWEEN 1 AND 255 OR instr(NEW.reference, char(0)) > 0;
  SELECT RAISE(ABORT, 'takings: captured_amount must be a whole number of minor units, 1 to 200000000 (60.00 is 6000)')
    WHERE typeof(NEW.captured_amount) <> 'integer' OR NEW.captured_amount NOT BETWEEN 1 AND 200000000;
  SELECT RAISE(ABORT, 'takings: request must be a text with a JSON object, or NULL')
    WHERE NEW.request IS NOT NULL AND (typeof(NEW.request) <> 'text' OR ltrim(NEW.request, char(9, 10, 13, 32)) NOT LIKE '{%');
  SELECT RAISE(ABORT, 'takings: due_at must be a whole number of milliseconds since 1970, or be left out')
    WHERE typeof(NEW.due_at) <> 'integer';
  SELECT RAISE(ABORT, 'takings: enqueued_at is the present time, so leave it out')
    WHERE abs(NEW.enqueued_at - (julianday('now') - 2440587.5) * 86400000) > 300000;
  SELECT RAISE(ABORT, 'takings: only account, order_id, reference, captured_amount, request and due_at may be inserted')
    WHERE NEW.state <> 'queued' OR NEW.sends <> 0 OR NEW.tries <> 0 OR NEW.maybe <> 0 OR NEW.refused <> 0
       OR coalesce(NEW.request_wiped_at, NEW.last_sent_at, NEW.looked_at, NEW.idempotency_key, NEW.capture_id, NEW.correlation_id,
                   NEW.settled_at, NEW.settled_by, NEW.seen_at, NEW.alert_at, NEW.why, NEW.http_status, NEW.error_code, NEW.note) IS NOT NULL;
  -- The same again does nothing. A wiped request can no longer be compared.
  SELECT CASE
      WHEN captured_amount = NEW.captured_amount AND (request IS NEW.request OR request_wiped_at IS NOT NULL)
      THEN RAISE(IGNORE)
      ELSE RAISE(ABORT, 'takings: this reference of the order was enqueued before with another content')
    END
    FROM takings_capture WHERE account = NEW.account AND order_id = NEW.order_id AND reference = NEW.reference;
END;
CREATE TRIGGER takings_capture_final BEFORE UPDATE ON takings_capture
WHEN OLD.state = 'captured' AND (NEW.state <> 'captured' OR NEW.capture_id IS NOT OLD.capture_id)
BEGIN SELECT RAISE(ABORT, 'takings: captured is final'); END;
CREATE TRIGGER takings_capture_rises BEFORE UPDATE OF sends, maybe ON takings_capture
WHEN NEW.sends < OLD.sends OR NEW.maybe < OLD.maybe
BEGIN SELECT RAISE(ABORT, 'takings: sends and maybe are never set back'); END;
CREATE TRIGGER takings_capture_fixed
BEFORE UPDATE OF id, account, order_id, reference, captured_amount, enqueued_at ON takings_capture
BEGIN SELECT RAISE(ABORT, 'takings: an enqueued row cannot be changed'); END;
CREATE TRIGGER takings_capture_request BEFORE UPDATE OF request ON takings_capture
WHEN NEW.request IS NOT NULL OR NEW.request_wiped_at IS NULL OR OLD.due_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'takings: the request of an enqueued row cannot be changed'); END;
-- Its name must be remembered: enqueued again, it would be sent again.
CREATE TRIGGER takings_capture_kept BEFORE DELETE ON takings_capture
WHEN OLD.due_at IS NOT NULL OR OLD.sends > 0 OR OLD.capture_id IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'takings: this row may have to be accounted for, so it cannot be deleted; takings purge leaves a stub'); END;

CREATE TABLE takings_refund (
  id              INTEGER PRIMARY KEY,
  account         TEXT NOT NULL DEFAULT 'default',
  order_id        NOT NULL,
  -- The refund's own name: unique in its order, sent to Klarna as `reference`, and the source of its idempotency key.
  reference       NOT NULL,
  -- Minor units: 60.00 is 6000. A column without a type converts nothing; INTEGER would make 60 of '60.00'.
  refunded_amount NOT NULL,
  -- The other fields of Klarna's request, as a JSON object. Workers wipe it some time after the end.
  request,
  request_wiped_at INTEGER,
  enqueued_at     INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
  state           TEXT NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'sending', 'unclear', 'refunded', 'rejected', 'stuck', 'cancelled')),
  -- When something is to be done about it; while 'sending' the end of the lease; NULL: nothing.
  due_at          INTEGER DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
  -- The claims so far. A worker's word counts while this is the number of its claim.
  sends           INTEGER NOT NULL DEFAULT 0,
  -- The unclear ends so far: the place in the schedule.
  tries           INTEGER NOT NULL DEFAULT 0,
  -- A request may have been carried out. Never set back.
  maybe           INTEGER NOT NULL DEFAULT 0 CHECK (maybe IN (0, 1)),
  -- Klarna refused it although an earlier request may have been carried out: only a look is left.
  refused         INTEGER NOT NULL DEFAULT 0 CHECK (refused IN (0, 1)),
  last_sent_at    INTEGER,
  -- When the last look began that did not find it.
  looked_at       INTEGER,
  -- Only where a person gave it a new one.
  idempotency_key TEXT,
  -- Empty if Klarna named none.
  refund_id      TEXT,
  correlation_id  TEXT,
  settled_at      INTEGER,
  settled_by      TEXT,
  -- Set by the shop, once it has taken the outcome over.
  seen_at         INTEGER,
  alert_at        INTEGER,
  why             TEXT,
  http_status     INTEGER,
  error_code      TEXT,
  note            TEXT,
  CHECK ((state = 'refunded') = (refund_id IS NOT NULL)),
  CHECK ((state IN ('refunded', 'rejected', 'stuck', 'cancelled')) = (due_at IS NULL)),
  CHECK ((due_at IS NULL) = (settled_at IS NOT NULL)),
  UNIQUE (account, order_id, reference)
);
CREATE INDEX takings_refund_due ON takings_refund (account, due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX takings_refund_alert ON takings_refund (alert_at) WHERE alert_at IS NOT NULL;
CREATE INDEX takings_refund_news ON takings_refund (settled_at) WHERE settled_at IS NOT NULL AND seen_at IS NULL;
CREATE INDEX takings_refund_found ON takings_refund (refund_id) WHERE refund_id IS NOT NULL;

-- RAISE(ABORT) also stops an INSERT OR IGNORE, which would step over a CHECK without a word.
CREATE TRIGGER takings_refund_enqueue BEFORE INSERT ON takings_refund
BEGIN
  SELECT RAISE(ABORT, 'takings: this ledger was moved; takings doctor says where it is now')
    WHERE EXISTS (SELECT 1 FROM takings_ledger WHERE moved_to IS NOT NULL);
  SELECT RAISE(ABORT, 'takings: there is no such account in takings_account')
    WHERE NOT EXISTS (SELECT 1 FROM takings_account WHERE account = NEW.account);
  SELECT RAISE(ABORT, 'takings: order_id must be a text of 1 to 255 characters')
    WHERE typeof(NEW.order_id) <> 'text' OR length(NEW.order_id) NOT BETWEEN 1 AND 255 OR instr(NEW.order_id, char(0)) > 0;
  SELECT RAISE(ABORT, 'takings: order_id must be in small letters, as Klarna writes it')
    WHERE NEW.order_id GLOB '????????-????-????-????-????????????' AND NEW.order_id <> lower(NEW.order_id);
  SELECT RAISE(ABORT, 'takings: reference must be a text of 1 to 255 characters, another for each refund of the order')
    WHERE typeof(NEW.reference) <> 'text' OR length(NEW.reference) NOT BETWEEN 1 AND 255 OR instr(NEW.reference, char(0)) > 0;
  SELECT RAISE(ABORT, 'takings: refunded_amount must be a whole number of minor units, 1 to 200000000 (60.00 is 6000)')
    WHERE typeof(NEW.refunded_amount) <> 'integer' OR NEW.refunded_amount NOT BETWEEN 1 AND 200000000;
  SELECT RAISE(ABORT, 'takings: request must be a text with a JSON object, or NULL')
    WHERE NEW.request IS NOT NULL AND (typeof(NEW.request) <> 'text' OR ltrim(NEW.request, char(9, 10, 13, 32)) NOT LIKE '{%');
  SELECT RAISE(ABORT, 'takings: due_at must be a whole number of milliseconds since 1970, or be left out')
    WHERE typeof(NEW.due_at) <> 'integer';
  SELECT RAISE(ABORT, 'takings: enqueued_at is the present time, so leave it out')
    WHERE abs(NEW.enqueued_at - (julianday('now') - 2440587.5) * 86400000) > 300000;
  SELECT RAISE(ABORT, 'takings: only account, order_id, reference, refunded_amount, request and due_at may be inserted')
    WHERE NEW.state <> 'queued' OR NEW.sends <> 0 OR NEW.tries <> 0 OR NEW.maybe <> 0 OR NEW.refused <> 0
       OR coalesce(NEW.request_wiped_at, NEW.last_sent_at, NEW.looked_at, NEW.idempotency_key, NEW.refund_id, NEW.correlation_id,
                   NEW.settled_at, NEW.settled_by, NEW.seen_at, NEW.alert_at, NEW.why, NEW.http_status, NEW.error_code, NEW.note) IS NOT NULL;
  -- The same again does nothing. A wiped request can no longer be compared.
  SELECT CASE
      WHEN refunded_amount = NEW.refunded_amount AND (request IS NEW.request OR request_wiped_at IS NOT NULL)
      THEN RAISE(IGNORE)
      ELSE RAISE(ABORT, 'takings: this reference of the order was enqueued before with another content')
    END
    FROM takings_refund WHERE account = NEW.account AND order_id = NEW.order_id AND reference = NEW.reference;
END;
CREATE TRIGGER takings_refund_final BEFORE UPDATE ON takings_refund
WHEN OLD.state = 'refunded' AND (NEW.state <> 'refunded' OR NEW.refund_id IS NOT OLD.refund_id)
BEGIN SELECT RAISE(ABORT, 'takings: refunded is final'); END;
CREATE TRIGGER takings_refund_rises BEFORE UPDATE OF sends, maybe ON takings_refund
WHEN NEW.sends < OLD.sends OR NEW.maybe < OLD.maybe
BEGIN SELECT RAISE(ABORT, 'takings: sends and maybe are never set back'); END;
CREATE TRIGGER takings_refund_fixed
BEFORE UPDATE OF id, account, order_id, reference, refunded_amount, enqueued_at ON takings_refund
BEGIN SELECT RAISE(ABORT, 'takings: an enqueued row cannot be changed'); END;
CREATE TRIGGER takings_refund_request BEFORE UPDATE OF request ON takings_refund
WHEN NEW.request IS NOT NULL OR NEW.request_wiped_at IS NULL OR OLD.due_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'takings: the request of an enqueued row cannot be changed'); END;
-- Its name must be remembered: enqueued again, it would be sent again.
CREATE TRIGGER takings_refund_kept BEFORE DELETE ON takings_refund
WHEN OLD.due_at IS NOT NULL OR OLD.sends > 0 OR OLD.refund_id IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'takings: this row may have to be accounted for, so it cannot be deleted; takings purge leaves a stub'); END;
