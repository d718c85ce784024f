//! Every row of the policy's table, and what holds in any history.

use std::time::Duration;

use proptest::prelude::*;
use takings_ledger::policy::{
    Action, Breaker, Change, Claimed, Due, End, LONGEST_LIMIT, Looked, MOST_TRIES, Moments, NO_ANSWERS, News, Rate,
    Standing, State, VOUCHED, Verdict, Why, Word, action, clocks_agree, counts, heed, is_fresh, maybe_when_claimed,
    settle,
};

const NEW: Claimed =
    Claimed { maybe: false, unvouched: false, refused: false, tries: 0, vouched_age: Some(0), trouble: 0 };
const MAYBE: Claimed = Claimed { maybe: true, ..NEW };
const UNVOUCHED: Claimed = Claimed { unvouched: true, ..NEW };
const REFUSED: Claimed = Claimed { refused: true, ..MAYBE };
const REFUSED_ONCE: Claimed = Claimed { refused: true, ..NEW };
const REFUSED_UNVOUCHED: Claimed = Claimed { refused: true, ..UNVOUCHED };
const HOUR: i64 = 60 * 60 * 1000;

fn seconds(count: u64) -> Due {
    Due::After(Duration::from_secs(count))
}

fn pause(seconds: u64, why: Why) -> News {
    News::Pause(Duration::from_secs(seconds), why)
}

#[test]
fn every_end_of_a_claim() {
    use End::*;
    use State::{Queued, Rejected, Stuck};
    let minute = Some(Duration::from_secs(60));
    let (never, now) = (Due::Never, seconds(0));
    for (row, end, state, due, why, alert, account) in [
        (NEW, Done("c".into()), State::Done, never, None, false, News::Answers),
        (REFUSED, Done("c".into()), State::Done, never, None, false, News::Answers),
        (NEW, NotSent, Queued, seconds(1), Some(Why::NoAnswer), false, News::NoAnswer),
        (MAYBE, NotSent, State::Unclear, seconds(1), Some(Why::NoAnswer), false, News::NoAnswer),
        (Claimed { trouble: 3, ..NEW }, NotSent, Queued, seconds(8), Some(Why::NoAnswer), false, News::NoAnswer),
        (Claimed { trouble: 99, ..NEW }, NotSent, Queued, seconds(300), Some(Why::NoAnswer), false, News::NoAnswer),
        (NEW, Limited(minute), Queued, seconds(60), Some(Why::Limited), false, pause(60, Why::Limited)),
        (MAYBE, Limited(None), State::Unclear, seconds(5), Some(Why::Limited), false, pause(5, Why::Limited)),
        (NEW, Credentials, Queued, seconds(300), Some(Why::Credentials), false, pause(300, Why::Credentials)),
        (MAYBE, Credentials, State::Unclear, seconds(300), Some(Why::Credentials), false, pause(300, Why::Credentials)),
        (NEW, NotKlarna, Queued, seconds(300), Some(Why::NotKlarna), false, pause(300, Why::NotKlarna)),
        (NEW, Refused { settles: false }, Rejected, never, Some(Why::Refused), true, News::Answers),
        (MAYBE, Refused { settles: true }, Rejected, never, Some(Why::Refused), true, News::Answers),
        (MAYBE, Refused { settles: false }, State::Unclear, now, Some(Why::RefusedAfterUnclear), false, News::Answers),
        (UNVOUCHED, Refused { settles: true }, Rejected, never, Some(Why::Refused), true, News::Answers),
        (UNVOUCHED, Refused { settles: false }, Queued, now, Some(Why::RefusedAfterUnclear), false, News::Answers),
        (UNVOUCHED, Looked(self::Looked::Never), Queued, now, None, false, News::Answers),
        (NEW, Unclear, State::Unclear, seconds(5), Some(Why::Unclear), false, News::NoAnswer),
        (NEW, Internal, State::Unclear, seconds(5), Some(Why::Internal), true, News::Nothing),
        (NEW, Invalid, Stuck, never, Some(Why::Invalid), true, News::Nothing),
        (NEW, HandedBack, Queued, now, None, false, News::Nothing),
        (MAYBE, HandedBack, State::Unclear, now, None, false, News::Nothing),
        (MAYBE, Looked(self::Looked::Once("c".into())), State::Done, never, None, false, News::Answers),
        (NEW, Looked(self::Looked::Never), Queued, now, None, false, News::Answers),
        (MAYBE, Looked(self::Looked::Never), State::Unclear, now, None, false, News::Answers),
        (REFUSED, Looked(self::Looked::Never), Stuck, never, Some(Why::RefusedAfterUnclear), true, News::Answers),
        (REFUSED_ONCE, Looked(self::Looked::Never), Rejected, never, Some(Why::Refused), true, News::Answers),
        (
            REFUSED_UNVOUCHED,
            Looked(self::Looked::Never),
            Queued,
            seconds(600),
            Some(Why::Refused),
            false,
            News::Answers,
        ),
        (NEW, Looked(self::Looked::Several), Stuck, never, Some(Why::Several), true, News::Answers),
        (NEW, Looked(self::Looked::AmountDiffers), Stuck, never, Some(Why::AmountDiffers), true, News::Answers),
        (NEW, Looked(self::Looked::Refused), Stuck, never, Some(Why::LookRefused), true, News::Answers),
        (NEW, Looked(self::Looked::Unanswered), Queued, seconds(5), Some(Why::Unclear), false, News::NoAnswer),
        (NEW, Looked(self::Looked::NotSent), Queued, seconds(1), Some(Why::NoAnswer), false, News::NoAnswer),
        (
            NEW,
            Looked(self::Looked::Limited(None)),
            Queued,
            seconds(5),
            Some(Why::Limited),
            false,
            pause(5, Why::Limited),
        ),
        (
            NEW,
            Looked(self::Looked::Credentials),
            Queued,
            seconds(300),
            Some(Why::Credentials),
            false,
            pause(300, Why::Credentials),
        ),
        (
            NEW,
            Looked(self::Looked::NotKlarna),
            Queued,
            seconds(300),
            Some(Why::NotKlarna),
            false,
            pause(300, Why::NotKlarna),
        ),
    ] {
        let told = format!("{row:?} {end:?}");
        let vouches = end == Looked(self::Looked::Never) && (!row.refused || row.unvouched && !row.maybe);
        let verdict = settle(&row, end);
        let got = (verdict.state, verdict.due, verdict.why, verdict.alert, verdict.account, verdict.vouches);
        assert_eq!(got, (state, due, why, alert, account, vouches), "{told}");
    }
}

#[test]
fn an_unclear_end_is_asked_again_by_klarnas_schedule() {
    let mut row = NEW;
    let mut schedule = Vec::new();
    for _ in 0..MOST_TRIES {
        let verdict = settle(&row, End::Unclear);
        assert!(verdict.maybe);
        schedule.push((verdict.state, verdict.due, verdict.alert));
        row = Claimed { maybe: true, tries: verdict.tries, ..row };
    }
    let later = |time, alert| (State::Unclear, seconds(time), alert);
    let mut expected = vec![later(5, false), later(300, false), later(18_000, false)];
    expected.extend([later(18_000, true); 6]);
    expected.push((State::Stuck, Due::Never, true));
    assert_eq!(schedule, expected);
}

#[test]
fn a_row_is_sent_within_twelve_hours_of_a_moment_that_vouches() {
    for (vouched_age, expected) in [
        (Some(0), Action::Send),
        (Some(12 * HOUR - 1), Action::Send),
        (Some(12 * HOUR), Action::Look),
        (Some(-1), Action::Look),
        (Some(i64::MIN), Action::Look),
        (None, Action::Look),
    ] {
        assert_eq!(action(&Claimed { vouched_age, ..NEW }), expected, "{vouched_age:?}");
        assert_eq!(action(&Claimed { vouched_age, ..MAYBE }), expected, "{vouched_age:?}");
        assert_eq!(action(&Claimed { vouched_age, ..REFUSED }), Action::Look, "{vouched_age:?}");
    }
    assert_eq!(VOUCHED.as_secs(), 12 * 3600);
}

#[test]
fn a_claim_knows_of_a_worker_before_it() {
    for (state, maybe, expected) in [
        (State::Queued, false, false),
        (State::Queued, true, true),
        (State::Unclear, true, true),
        (State::Sending, false, true),
    ] {
        assert_eq!(maybe_when_claimed(state, maybe), expected, "{state:?} {maybe}");
    }
}

#[test]
fn a_ledger_vouches_for_what_was_enqueued_since_it_was_made() {
    let minute = HOUR / 60;
    let born = Moments { now: 0, enqueued_at: 0, looked_at: None, look_until: 0, look_since: 0 };
    let doubtful = Moments { look_until: 100 * HOUR, look_since: 10 * HOUR, ..born };
    let looked = |looked_at| Moments { now: 20 * HOUR, looked_at: Some(looked_at), ..doubtful };
    for (moments, age, is_unvouched) in [
        (Moments { now: HOUR, ..born }, Some(HOUR), false),
        (Moments { now: -HOUR, ..born }, Some(-HOUR), false),
        (doubtful, None, true),
        (Moments { enqueued_at: 100 * HOUR, now: 100 * HOUR, ..doubtful }, Some(0), false),
        (looked(15 * HOUR), Some(5 * HOUR), false),
        (looked(10 * HOUR + 10 * minute), Some(9 * HOUR + 50 * minute), false),
        // A request of the lost ledger may still have been under way.
        (looked(10 * HOUR + 9 * minute), Some(9 * HOUR + 51 * minute), true),
        (looked(5 * HOUR), Some(15 * HOUR), true),
        (Moments { now: 9 * HOUR, looked_at: Some(5 * HOUR), ..born }, Some(4 * HOUR), false),
        (Moments { now: 9 * HOUR, looked_at: Some(5 * HOUR), enqueued_at: 6 * HOUR, ..born }, Some(4 * HOUR), false),
    ] {
        assert_eq!((moments.vouched_age(), moments.is_unvouched()), (age, is_unvouched), "{moments:?}");
    }
}

#[test]
fn success_always_counts_and_any_other_word_from_the_holder_alone() {
    use State::*;
    for (current, current_sends, sends, new, expected) in [
        (Sending, 2, 2, Rejected, true),
        (Sending, 3, 2, Rejected, false),
        (Queued, 2, 2, Rejected, false),
        (Unclear, 2, 2, Unclear, false),
        (Sending, 3, 2, Done, true),
        (Stuck, 3, 2, Done, true),
        (Rejected, 3, 2, Done, true),
        (Cancelled, 3, 2, Done, true),
        (Done, 3, 3, Done, false),
        (Done, 3, 3, Stuck, false),
    ] {
        assert_eq!(counts(current, current_sends, sends, new), expected, "{current:?} {current_sends} {sends} {new:?}");
    }
}

#[test]
fn a_claim_is_sent_in_the_first_half_of_its_lease_by_both_clocks() {
    let (lease, second) = (Duration::from_secs(180), Duration::from_secs(1));
    assert!(is_fresh(lease, second, Some(second)));
    assert!(is_fresh(lease, second * 89, Some(second * 89)));
    assert!(!is_fresh(lease, second * 90, Some(second)));
    assert!(!is_fresh(lease, second, Some(second * 90)));
    assert!(!is_fresh(lease, second, None), "the wall clock went back");
}

#[test]
fn clocks_that_differ_forbid_to_send() {
    let minute = HOUR / 60;
    assert!(clocks_agree(100 * minute, 105 * minute, 105 * minute));
    assert!(!clocks_agree(100 * minute, 106 * minute, 0));
    assert!(!clocks_agree(100 * minute, 94 * minute, 0));
    assert!(!clocks_agree(100 * minute, 100 * minute, 106 * minute), "the ledger's clock went back");
    assert!(clocks_agree(100 * minute, 100 * minute, i64::MIN));
}

#[test]
fn a_limit_pauses_for_as_long_as_klarna_asks() {
    for (asked, seconds) in [(None, 5), (Some(0), 1), (Some(17), 17), (Some(1800), 1800), (Some(99_999_999), 3600)] {
        let verdict = settle(&NEW, End::Limited(asked.map(Duration::from_secs)));
        assert_eq!(verdict.account, pause(seconds, Why::Limited), "{asked:?}");
        assert_eq!((verdict.state, verdict.maybe, verdict.alert), (State::Queued, false, false));
    }
    assert_eq!(LONGEST_LIMIT, Duration::from_secs(3600));
}

#[test]
fn a_rate_falls_by_a_fifth_and_comes_back_by_one_percent_a_minute() {
    let minute = HOUR / 60;
    let full = Rate { full: 180.0, slowed: None };
    assert_eq!(full.at(0), 180.0);
    let once = full.slower(0);
    assert_eq!((once.at(0), once.at(-minute)), (144.0, 144.0));
    assert!((once.at(10 * minute) - 162.0).abs() < 1e-9 && (once.at(20 * minute) - 180.0).abs() < 1e-9);
    assert_eq!(once.at(HOUR), 180.0, "and no further");
    let twice = once.slower(10 * minute);
    assert!((twice.at(10 * minute) - 129.6).abs() < 1e-9);
    let often = (0..100).fold(full, |rate, _| rate.slower(0));
    assert_eq!(often.at(0), 1.0, "a worker that sends nothing learns nothing");
    let small = Rate { full: 0.5, slowed: None };
    assert_eq!(small.slower(0).at(0), 0.5);
}

#[test]
fn a_person_is_heeded_where_the_word_can_be_true() {
    use State::*;
    let minute = HOUR / 60;
    let row = Standing { state: Queued, maybe: false, unvouched: false, quiet: None, done_as: None, is_wiped: false };
    let sent = Standing { quiet: Some(11 * minute), ..row.clone() };
    let at = |state, maybe, row: &Standing| Standing { state, maybe, ..row.clone() };
    let lost = |quiet| Standing { unvouched: true, quiet: Some(quiet), ..row.clone() };
    let done = || Word::Done("id".into());
    let again = || Word::SendAgain("key".into());
    for (row, word, expected) in [
        (row.clone(), Word::Withdraw, Some(Cancelled)),
        (at(Queued, true, &sent), Word::Withdraw, None),
        (at(Sending, false, &sent), Word::Withdraw, None),
        (at(Unclear, true, &sent), Word::Withdraw, None),
        (at(Rejected, false, &sent), Word::Withdraw, None),
        // Another ledger may have sent it, and its request may still be under way.
        (lost(11 * minute), Word::Withdraw, None),
        (lost(9 * minute), Word::NotDone, None),
        (lost(11 * minute), Word::NotDone, Some(Rejected)),
        (row.clone(), Word::NotDone, None),
        (at(Sending, true, &sent), Word::NotDone, None),
        (at(Unclear, true, &Standing { quiet: Some(9 * minute), ..row.clone() }), Word::NotDone, None),
        (at(Unclear, true, &Standing { quiet: Some(-minute), ..row.clone() }), again(), None),
        (at(Unclear, true, &sent), Word::NotDone, Some(Rejected)),
        (at(Stuck, true, &sent), again(), Some(Unclear)),
        (at(Rejected, false, &sent), again(), Some(Queued)),
        (Standing { is_wiped: true, ..at(Stuck, true, &sent) }, again(), None),
        (at(Sending, true, &sent), done(), Some(Done)),
        (at(Cancelled, false, &row), done(), Some(Done)),
        (at(Cancelled, false, &row), again(), None),
        (Standing { done_as: Some("id".into()), ..at(Done, true, &sent) }, done(), Some(Done)),
        (Standing { done_as: Some("other".into()), ..at(Done, true, &sent) }, done(), None),
        (Standing { done_as: Some("id".into()), ..at(Done, true, &sent) }, Word::NotDone, None),
    ] {
        assert_eq!(heed(&row, &word).ok(), expected, "{word:?} of {row:?}: {:?}", heed(&row, &word));
    }
}

#[test]
fn a_quiet_time_begins_with_the_last_request_or_the_loss_of_a_ledger() {
    let vouched = Moments { now: 100, enqueued_at: 50, looked_at: None, look_until: 0, look_since: 70 };
    assert_eq!((vouched.quiet(None), vouched.quiet(Some(60)), vouched.quiet(Some(130))), (None, Some(40), Some(-30)));
    let lost = Moments { look_until: 1000, ..vouched };
    assert_eq!((lost.quiet(None), lost.quiet(Some(60)), lost.quiet(Some(90))), (Some(30), Some(30), Some(10)));
}

#[test]
fn an_outage_pauses_the_account_and_one_answer_ends_that() {
    let mut breaker = Breaker::default();
    for _ in 1..NO_ANSWERS {
        assert_eq!(breaker.note(News::NoAnswer, 0), None);
    }
    let paused = |seconds| Some(Change::Paused(Duration::from_secs(seconds), Why::NoAnswer));
    assert_eq!(breaker.note(News::NoAnswer, 0), paused(30));
    for (trouble, seconds) in [(1, 60), (2, 120), (3, 240), (4, 300), (50, 300)] {
        assert_eq!(breaker.note(News::NoAnswer, trouble), paused(seconds), "a probe that nobody answered");
    }
    assert_eq!(breaker.note(News::Answers, 5), Some(Change::Recovered));
    assert_eq!(breaker.note(News::Answers, 0), None);
    for _ in 1..NO_ANSWERS {
        assert_eq!(breaker.note(News::NoAnswer, 0), None);
    }
    assert_eq!(breaker.note(News::Answers, 0), None);
    assert_eq!(breaker.note(News::NoAnswer, 0), None, "the count began anew");
}

#[test]
fn every_reason_has_a_word_of_its_own() {
    let words: std::collections::BTreeSet<_> = Why::ALL.iter().map(|why| why.as_str()).collect();
    assert_eq!(words.len(), Why::ALL.len());
}

fn ends() -> impl Strategy<Value = End> {
    let asked = || proptest::option::of((0..1000_u64).prop_map(Duration::from_secs));
    prop_oneof![
        Just(End::Done("id".into())),
        Just(End::NotSent),
        asked().prop_map(End::Limited),
        Just(End::Credentials),
        Just(End::NotKlarna),
        any::<bool>().prop_map(|settles| End::Refused { settles }),
        Just(End::Unclear),
        Just(End::Invalid),
        Just(End::Internal),
        Just(End::HandedBack),
        Just(End::Looked(Looked::Once("id".into()))),
        Just(End::Looked(Looked::Never)),
        Just(End::Looked(Looked::Several)),
        Just(End::Looked(Looked::AmountDiffers)),
        Just(End::Looked(Looked::Refused)),
        Just(End::Looked(Looked::Unanswered)),
        Just(End::Looked(Looked::NotSent)),
        asked().prop_map(|asked| End::Looked(Looked::Limited(asked))),
        Just(End::Looked(Looked::Credentials)),
        Just(End::Looked(Looked::NotKlarna)),
    ]
}

proptest! {
    /// No history forgets that a request may have been carried out, refuses a row after that, or leaves a row that is
    /// neither settled nor due.
    #[test]
    fn any_history(history in proptest::collection::vec((ends(), any::<bool>(), proptest::option::of(-1..48_i64)), 1..40)) {
        let mut row = NEW;
        let mut state = State::Queued;
        for (end, is_crash, age) in history {
            row.maybe = maybe_when_claimed(state, row.maybe);
            row.vouched_age = age.map(|age| age * HOUR);
            if is_crash {
                state = State::Sending;
                continue;
            }
            let settles = end == End::Refused { settles: true };
            let Verdict { state: new, maybe, refused, tries, due, vouches, id, why, alert, .. } = settle(&row, end.clone());
            prop_assert!(maybe || !row.maybe, "forgot: {row:?} {end:?}");
            prop_assert!(new != State::Rejected || !row.maybe || settles, "refused: {row:?} {end:?}");
            prop_assert_eq!(new.is_settled(), due == Due::Never);
            prop_assert_eq!(new == State::Done, id.is_some());
            prop_assert!(!new.is_settled() || new == State::Done || (alert && why.is_some()), "nobody is told of {end:?}");
            prop_assert!(!vouches || end == End::Looked(Looked::Never));
            prop_assert!(new != State::Sending && new != State::Cancelled);
            prop_assert!(tries <= row.tries + 1 && refused >= row.refused);
            if new == State::Queued {
                prop_assert!(!maybe, "queued although it may have been carried out: {row:?} {end:?}");
            }
            if new.is_settled() {
                break;
            }
            (row.maybe, row.refused, row.tries, state) = (maybe, refused, tries, new);
        }
    }
}
