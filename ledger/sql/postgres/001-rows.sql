
CREATE TABLE takings_capture (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- No foreign key: each INSERT of a shop would lock the row that workers write most.
  account         text NOT NULL DEFAULT 'default',
  order_id        text NOT NULL,
  -- The capture's own name: unique in its order, sent to Klarna as `reference`, and the source of its idempotency key.
  reference       text NOT NULL,
  -- Minor units: 60.00 is 6000. A bigint would make 61 of 60.5, and numeric keeps the .5, which is then refused.
  captured_amount numeric NOT NULL,
  -- The other fields of Klarna's request, as a JSON object. Workers wipe it some time after the end.
  request         text,
  request_wiped_at timestamptz,
  enqueued_at     timestamptz NOT NULL DEFAULT takings_now(),
  state           text NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'sending', 'unclear', 'captured', 'rejected', 'stuck', 'cancelled')),
  -- When something is to be done about it; while 'sending' the end of the lease; NULL: nothing.
  due_at          timestamptz DEFAULT takings_now(),
  -- The place among the due rows: due_at, but for a row that is 'sending', which keeps the place where it was claimed. So
  -- a claim changes no column that an index holds, and the row's next version needs no new entry in any index.
  queue_at        timestamptz,
  -- The claims so far. A worker's word counts while this is the number of its claim.
  sends           bigint NOT NULL DEFAULT 0,
  -- The unclear ends so far: the place in the schedule.
  tries           integer NOT NULL DEFAULT 0,
  -- A request may have been carried out. Never set back.
  maybe           boolean NOT NULL DEFAULT false,
  -- Klarna refused it although an earlier request may have been carried out: only a look is left.
  refused         boolean NOT NULL DEFAULT false,
  last_sent_at    timestamptz,
  -- When the last look began that did not find it.
  looked_at       timestamptz,
  -- Only where a person gave it a new one.
  idempotency_key text,
  -- Empty if Klarna named none.
  capture_id      text,
  correlation_id  text,
  settled_at      timestamptz,
  settled_by      text,
  -- Set by the shop, once it has taken the outcome over.
  seen_at         timestamptz,
  alert_at        timestamptz,
  why             text,
  http_status     integer,
  error_code      text,
  note            text,
  CHECK ((state = 'captured') = (capture_id IS NOT NULL)),
  CHECK ((state IN ('captured', 'rejected', 'stuck', 'cancelled')) = (due_at IS NULL)),
  CHECK ((due_at IS NULL) = (settled_at IS NOT NULL)),
  CHECK ((due_at IS NULL) = (queue_at IS NULL)),
  CONSTRAINT takings_capture_name UNIQUE (account, order_id, reference)
-- A row is written three times, and rarely deleted. Where its next version finds room in the same page, the log need not
-- repeat the request, and the room of the former one is used again. A vacuum must not wait.
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX takings_capture_due ON takings_capture (account, queue_at, id) WHERE queue_at IS NOT NULL;
CREATE INDEX takings_capture_alert ON takings_capture (alert_at) WHERE alert_at IS NOT NULL;
-- The words of a shop's question for news: other words would not find the index.
CREATE INDEX takings_capture_news ON takings_capture (settled_at)
  WHERE settled_at IS NOT NULL AND (seen_at IS NULL OR seen_at < settled_at);
CREATE INDEX takings_capture_found ON takings_capture (capture_id) WHERE capture_id IS NOT NULL;

CREATE FUNCTION takings_capture_enqueue() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  why text;
  old record;
BEGIN
  -- Apart from the others: an expression that asks a table is begun anew for each row.
  PERFORM FROM takings_account WHERE account = NEW.account;
  why := CASE
    WHEN NOT FOUND
      THEN 'there is no such account in takings_account'
    WHEN NEW.order_id IS NULL OR length(NEW.order_id) NOT BETWEEN 1 AND 255
      THEN 'order_id must be a text of 1 to 255 characters'
    WHEN NEW.order_id ~ '^.{8}-.{4}-.{4}-.{4}-.{12}$' AND NEW.order_id <> lower(NEW.order_id)
      THEN 'order_id must be in small letters, as Klarna writes it'
    WHEN NEW.reference IS NULL OR length(NEW.reference) NOT BETWEEN 1 AND 255
      THEN 'reference must be a text of 1 to 255 characters, another for each capture of the order'
    WHEN NEW.captured_amount IS NULL OR NEW.captured_amount = 'NaN' OR scale(NEW.captured_amount) <> 0
      OR NEW.captured_amount NOT BETWEEN 1 AND 200000000
      THEN 'captured_amount must be a whole number of minor units, 1 to 200000000 (60.00 is 6000)'
    WHEN json_typeof(NEW.request::json) <> 'object'
      THEN 'request must be a text with a JSON object, or NULL'
    WHEN NEW.due_at IS NULL OR NEW.due_at < 'epoch' OR NEW.due_at = 'infinity'
      THEN 'due_at must be a time after 1970, or be left out'
    WHEN NEW.enqueued_at NOT BETWEEN takings_now() - interval '5 minutes' AND takings_now() + interval '5 minutes'
      THEN 'enqueued_at is the present time, so leave it out'
    WHEN NEW.state <> 'queued' OR NEW.sends <> 0 OR NEW.tries <> 0 OR NEW.maybe OR NEW.refused
      OR num_nonnulls(NEW.request_wiped_at, NEW.last_sent_at, NEW.looked_at, NEW.idempotency_key, NEW.capture_id,
           NEW.correlation_id, NEW.settled_at, NEW.settled_by, NEW.seen_at, NEW.alert_at, NEW.why, NEW.http_status,
           NEW.error_code, NEW.note) > 0
      THEN 'only account, order_id, reference, captured_amount, request and due_at may be inserted'
  END;
  IF why IS NOT NULL THEN
    RAISE EXCEPTION 'takings: %', why USING ERRCODE = 'check_violation';
  END IF;
  SELECT captured_amount, request, request_wiped_at INTO old FROM takings_capture
    WHERE account = NEW.account AND order_id = NEW.order_id AND reference = NEW.reference;
  IF NOT FOUND THEN
    NEW.queue_at := NEW.due_at;
    RETURN NEW;
  END IF;
  -- The same again does nothing. A wiped request can no longer be compared.
  IF old.captured_amount = NEW.captured_amount
    AND (old.request IS NOT DISTINCT FROM NEW.request OR old.request_wiped_at IS NOT NULL) THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION 'takings: this reference of the order was enqueued before with another content'
    USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER takings_capture_enqueue BEFORE INSERT ON takings_capture
  FOR EACH ROW EXECUTE FUNCTION takings_capture_enqueue();

-- A change of due_at moves the row to another place, unless a claim makes it.
CREATE FUNCTION takings_capture_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.queue_at := NEW.due_at;
  RETURN NEW;
END $$;
CREATE TRIGGER takings_capture_place BEFORE INSERT OR UPDATE OF due_at ON takings_capture FOR EACH ROW
  WHEN (NEW.queue_at > NEW.due_at OR (NEW.queue_at IS NULL) <> (NEW.due_at IS NULL)
    OR NEW.queue_at < NEW.due_at AND NEW.state <> 'sending')
  EXECUTE FUNCTION takings_capture_place();

CREATE FUNCTION takings_capture_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'takings: %', TG_ARGV[0] USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER takings_capture_final BEFORE UPDATE ON takings_capture FOR EACH ROW
  WHEN (OLD.state = 'captured' AND (NEW.state <> 'captured' OR NEW.capture_id IS DISTINCT FROM OLD.capture_id))
  EXECUTE FUNCTION takings_capture_keep('captured is final');
CREATE TRIGGER takings_capture_rises BEFORE UPDATE OF sends, maybe ON takings_capture FOR EACH ROW
  WHEN (NEW.sends < OLD.sends OR NEW.maybe < OLD.maybe)
  EXECUTE FUNCTION takings_capture_keep('sends and maybe are never set back');
CREATE TRIGGER takings_capture_fixed
  BEFORE UPDATE OF id, account, order_id, reference, captured_amount, enqueued_at ON takings_capture FOR EACH ROW
  EXECUTE FUNCTION takings_capture_keep('an enqueued row cannot be changed');
CREATE TRIGGER takings_capture_request BEFORE UPDATE OF request ON takings_capture FOR EACH ROW
  WHEN (NEW.request IS NOT NULL OR NEW.request_wiped_at IS NULL OR OLD.due_at IS NOT NULL)
  EXECUTE FUNCTION takings_capture_keep('the request of an enqueued row cannot be changed');
-- Its name must be remembered: enqueued again, it would be sent again.
CREATE TRIGGER takings_capture_kept BEFORE DELETE ON takings_capture FOR EACH ROW
  WHEN (OLD.due_at IS NOT NULL OR OLD.sends > 0 OR OLD.capture_id IS NOT NULL)
  EXECUTE FUNCTION takings_capture_keep(
    'this row may have to be accounted for, so it cannot be deleted; takings purge leaves a stub');
