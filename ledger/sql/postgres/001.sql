-- The tables of a ledger in PostgreSQL, 13 or newer. A shop inserts into takings_capture and takings_refund, in the
-- transaction in which it ships the goods or takes them back. The role that runs these statements owns the tables.

DO $$ BEGIN
  IF current_setting('server_encoding') <> 'UTF8' THEN
    RAISE EXCEPTION 'takings: this database has not every letter of Klarna''s answers: make one WITH ENCODING ''UTF8'' TEMPLATE template0';
  END IF;
END $$;

-- The ledger's one clock. It is a function so that a test can move it.
CREATE FUNCTION takings_now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now()';

-- The same clock within a transaction: behind a lock that it waited for, the time has gone on.
CREATE FUNCTION takings_clock() RETURNS timestamptz LANGUAGE sql VOLATILE
  AS 'SELECT takings_now() + (clock_timestamp() - now())';

-- Whole milliseconds since 1970 (UTC), as workers count.
CREATE FUNCTION takings_ms(timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN $1 = 'infinity' THEN 9223372036854775807 ELSE floor(extract(epoch FROM $1) * 1000)::bigint END
$$;
CREATE FUNCTION takings_at(bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN $1 >= 253402300800000 THEN 'infinity' ELSE to_timestamp($1 / 1000.0) END
$$;

CREATE TABLE takings_ledger (
  version       integer NOT NULL,
  -- Workers of an older version must not run on these tables.
  oldest_worker integer NOT NULL,
  -- The database in which these tables were made or last restored: its identifier and its timeline. After a restore or
  -- a failover it is another one.
  origin        text
);
CREATE UNIQUE INDEX takings_ledger_one ON takings_ledger ((true));
INSERT INTO takings_ledger (version, oldest_worker) VALUES (1, 1);

CREATE TABLE takings_account (
  account      text PRIMARY KEY,
  -- Bound by the first worker. A worker for another place is refused.
  base_url     text,
  merchant     text,
  -- The person who bound it anew.
  bound_by     text,
  per_second   double precision NOT NULL DEFAULT 180,
  burst        double precision NOT NULL DEFAULT 15,
  -- The rate that Klarna's limit left, and since when. It comes back by itself.
  slowed       double precision,
  slowed_at    timestamptz,
  tokens       double precision NOT NULL DEFAULT 15,
  tokens_at    timestamptz NOT NULL DEFAULT takings_now(),
  -- How often in a row it was paused. Above 0 one row at a time probes.
  trouble      integer NOT NULL DEFAULT 0,
  paused_until timestamptz NOT NULL DEFAULT 'epoch',
  paused_why   text,
  -- Rows that were enqueued before are looked for first.
  look_until   timestamptz NOT NULL,
  -- When the ledger was made, or restored.
  look_since   timestamptz NOT NULL,
  -- The latest time that a worker saw here.
  seen_at      timestamptz NOT NULL DEFAULT 'epoch',
  alert_at     timestamptz
) WITH (fillfactor = 50);

-- The requests of rows that did not end well at once.
CREATE TABLE takings_attempt (
  kind           text NOT NULL CHECK (kind IN ('capture', 'refund')),
  row            bigint NOT NULL,
  sends          bigint NOT NULL,
  n              bigint NOT NULL,
  at             timestamptz NOT NULL,
  took_ms        bigint NOT NULL,
  sent           text NOT NULL,
  came_back      text NOT NULL,
  http_status    integer,
  error_code     text,
  correlation_id text,
  PRIMARY KEY (kind, row, sends, n)
);
