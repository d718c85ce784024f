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
    /// No request was sent.
    NotSent,
    /// Klarna refused this request.
    Refused,
    /// Klarna refused this request for its bytes, so an earlier one with the same bytes did nothing either.
    Settled,
    /// The answer was lost, or leaves open what was done.
    Unclear,
    /// Success that names nothing.
    Agreed,
    /// Success, with the id of what was made.
    Done(Arc<str>),
}

impl Doubt {
    /// The doubt after `ending`.
    pub fn after(self, ending: Ending) -> Doubt {
        match ending {
            Ending::NotSent => self,
            Ending::Settled if self <= Doubt::Unclear => Doubt::Refused,
            Ending::Refused | Ending::Settled => self.max(Doubt::Refused),
            Ending::Unclear => self.max(Doubt::Unclear),
            Ending::Agreed => self.max(Doubt::Agreed),
            Ending::Done(id) => Doubt::Done(id),
        }
    }

    /// Whether a request may have been carried out.
    pub fn is_open(&self) -> bool {
        *self >= Doubt::Unclear
    }
}

/// The end of a call that leaves this behind.
impl From<Doubt> for Ending {
    fn from(doubt: Doubt) -> Ending {
        match doubt {
            Doubt::Untouched => Ending::NotSent,
            Doubt::Refused => Ending::Refused,
            Doubt::Unclear => Ending::Unclear,
            Doubt::Agreed => Ending::Agreed,
            Doubt::Done(id) => Ending::Done(id),
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
        use Ending::*;
        let done = || Done("a".into());
        for (endings, left) in [
            (&[NotSent][..], Doubt::Untouched),
            (&[Refused, NotSent], Doubt::Refused),
            (&[Unclear, Refused], Doubt::Unclear),
            (&[Unclear, Settled], Doubt::Refused),
            (&[Settled], Doubt::Refused),
            (&[Agreed, Settled], Doubt::Agreed),
            (&[Agreed, Unclear], Doubt::Agreed),
            (&[Agreed, done()], Doubt::Done("a".into())),
            (&[done(), Settled], Doubt::Done("a".into())),
            (&[done(), Unclear, Refused, NotSent], Doubt::Done("a".into())),
            (&[done(), Done("b".into())], Doubt::Done("b".into())),
        ] {
            assert_eq!(after(endings), left, "{endings:?}");
        }
    }

    #[test]
    fn an_ending_repeats_what_a_call_left() {
        for doubt in [Doubt::Untouched, Doubt::Refused, Doubt::Unclear, Doubt::Agreed, Doubt::Done("a".into())] {
            assert_eq!(Doubt::Untouched.after(doubt.clone().into()), doubt);
        }
        let ordered = [Doubt::Untouched, Doubt::Refused, Doubt::Unclear, Doubt::Agreed, Doubt::Done("".into())];
        assert!(ordered.is_sorted());
    }
}
