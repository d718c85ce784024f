//! The doubt about an idempotency key, and how the end of a call or of an attempt changes it.

use std::sync::Arc;

/// The effect that the calls with a key have had so far. Where several variants hold, the last one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Doubt {
    /// No request has reached Klarna.
    #[default]
    Untouched,
    /// Klarna refused every request.
    Refused,
    /// Klarna refused every request that is known. An earlier one, which this memory does not know, may have been
    /// carried out: a caller gave its time, or nobody knows the first use of the key.
    EarlierUse,
    /// A request may have been carried out.
    Unclear,
    /// A request was answered with success that named nothing: no refusal says that nothing was done.
    Agreed,
    /// A request was carried out, and this is the id of what it made (empty where it makes nothing).
    Done(Arc<str>),
}

/// How a call, or one attempt of it, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself, the request leaves this.
    Left(Doubt),
    /// Klarna refused this request for its bytes, so an earlier one with the same bytes did nothing either.
    Settled,
}

impl Doubt {
    /// The doubt after `ending`. Nothing else changes what is known of a key.
    pub fn after(self, ending: Ending) -> Doubt {
        match ending {
            Ending::Settled if self <= Doubt::Unclear => Doubt::Refused,
            Ending::Settled => self,
            Ending::Left(Doubt::Done(id)) => Doubt::Done(id),
            // A call that leaves this knows that there was no earlier use.
            Ending::Left(Doubt::Refused) if self == Doubt::EarlierUse => Doubt::Refused,
            Ending::Left(doubt) => self.max(doubt),
        }
    }

    /// Whether a request of a known call may have been carried out.
    pub fn is_open(&self) -> bool {
        *self >= Doubt::Unclear
    }

    /// Whether it is known if the key was carried out, by any call.
    pub fn is_decided(&self) -> bool {
        matches!(self, Doubt::Untouched | Doubt::Refused | Doubt::Done(_))
    }
}

impl Ending {
    /// The ending of a call whose next attempt, or look-up, ends as `next`.
    pub fn then(self, next: Ending) -> Ending {
        match next {
            Ending::Settled if self.doubt() <= Doubt::Unclear => Ending::Settled,
            next => Ending::Left(self.doubt().after(next)),
        }
    }

    /// The ending as it counts for the key. `is_alone`: no other call with the key has ended open since this one's last
    /// request left, so a refusal of the bytes holds for all of them.
    pub fn of_key(self, is_alone: bool, first_use: FirstUse) -> Ending {
        match self {
            Ending::Settled if is_alone => Ending::Settled,
            Ending::Settled | Ending::Left(Doubt::Refused) if first_use == FirstUse::Unknown => {
                Ending::Left(Doubt::EarlierUse)
            }
            Ending::Settled => Ending::Left(Doubt::Refused),
            left => left,
        }
    }

    /// Whether a request of the call may have been carried out.
    pub fn is_open(&self) -> bool {
        self.doubt().is_open()
    }

    /// The doubt that remains where nothing else was sent with the key.
    pub fn doubt(&self) -> Doubt {
        match self {
            Ending::Settled => Doubt::Refused,
            Ending::Left(doubt) => doubt.clone(),
        }
    }
}

/// Whether anybody may have sent a key before the calls that are known to this client: another process, another host, the
/// same program before a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstUse {
    /// The first use is among the calls that are known to this client.
    Known,
    /// Somebody may have sent it before.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(endings: &[Ending]) -> Doubt {
        endings.iter().cloned().fold(Doubt::Untouched, Doubt::after)
    }

    #[test]
    fn doubt_only_grows_but_for_a_refusal_of_the_bytes() {
        use Doubt::*;
        use Ending::{Left, Settled};
        let done = || Left(Done("a".into()));
        for (endings, left) in [
            (&[Left(Untouched)][..], Untouched),
            (&[Left(Refused), Left(Untouched)], Refused),
            (&[Left(EarlierUse), Left(Untouched)], EarlierUse),
            (&[Left(EarlierUse), Left(Refused)], Refused),
            (&[Left(EarlierUse), Settled], Refused),
            (&[Left(Unclear), Left(Refused)], Unclear),
            (&[Left(Unclear), Left(EarlierUse)], Unclear),
            (&[Left(Unclear), Settled], Refused),
            (&[Settled], Refused),
            (&[Left(Agreed), Settled], Agreed),
            (&[Left(Agreed), Left(Unclear)], Agreed),
            (&[Left(Agreed), done()], Done("a".into())),
            (&[done(), Settled], Done("a".into())),
            (&[done(), Left(Unclear), Left(Refused), Left(Untouched)], Done("a".into())),
            (&[done(), Left(Done("b".into()))], Done("b".into())),
        ] {
            assert_eq!(after(endings), left, "{endings:?}");
            let call = endings.iter().cloned().fold(Left(Untouched), Ending::then);
            assert_eq!(call.doubt(), left, "{endings:?} within one call");
            assert_eq!(call == Settled, left == Refused && endings.contains(&Settled), "{endings:?}");
        }
    }

    #[test]
    fn an_ending_repeats_what_a_call_left() {
        use Doubt::*;
        let ordered = [Untouched, Refused, EarlierUse, Unclear, Agreed, Done("a".into())];
        assert!(ordered.is_sorted());
        for doubt in ordered {
            assert_eq!(Untouched.after(Ending::Left(doubt.clone())), doubt);
        }
    }

    #[test]
    fn a_refusal_counts_for_the_key_as_far_as_its_uses_are_known() {
        use FirstUse::{Known, Unknown};
        let (refused, earlier) = (Ending::Left(Doubt::Refused), Ending::Left(Doubt::EarlierUse));
        for (ending, is_alone, first_use, of_key) in [
            (refused.clone(), true, Known, refused.clone()),
            (refused.clone(), true, Unknown, earlier.clone()),
            (Ending::Settled, true, Known, Ending::Settled),
            (Ending::Settled, true, Unknown, Ending::Settled),
            (Ending::Settled, false, Known, refused.clone()),
            (Ending::Settled, false, Unknown, earlier),
            (Ending::Left(Doubt::Unclear), false, Unknown, Ending::Left(Doubt::Unclear)),
        ] {
            assert_eq!(ending.clone().of_key(is_alone, first_use), of_key, "{ending:?} {is_alone} {first_use:?}");
        }
    }
}
