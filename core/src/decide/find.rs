//! Matches what a call did among what Klarna lists, by its reference and its amount.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::api::operation::{Explanation, Search};
use crate::api::reply::Matches;
use crate::api::tree::{self, Document, DocumentInfo, Whole};
use crate::text::bytes_without_mark;
use crate::wire::answer::is_id;

/// The reference and amount that distinguish a capture, or refund, from the order's others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub reference: String,
    pub amount: i64,
}

const NO_LIST: &str = "with something else than the list that was asked for";
const NO_OBJECT: &str = "with something else than a document";
const TWICE: &str = "a member that stands twice";

/// A JSON object. `own` is a member and the id of what was asked for: with another id there the document is the answer to
/// another request.
pub(crate) fn object(
    body: &[u8],
    info: &'static DocumentInfo,
    own: Option<(&'static str, &str)>,
) -> Result<Document, String> {
    let text = std::str::from_utf8(bytes_without_mark(body)).map_err(|_| NO_OBJECT)?;
    let whole = Whole::Object(own.map(|(member, _)| member));
    let (document, id) = tree::read(text, info, whole).map_err(|_| NO_OBJECT)?;
    refuse_other(own, id.as_deref())?;
    Ok(document)
}

/// A JSON list.
pub(crate) fn list(body: &[u8], info: &'static DocumentInfo) -> Result<Document, String> {
    let text = std::str::from_utf8(bytes_without_mark(body)).map_err(|_| NO_LIST)?;
    let (document, _) = tree::read(text, info, Whole::List).map_err(|_| NO_LIST)?;
    Ok(document)
}

/// Refuses the document of something else, and one that does not say whose it is: an empty object would show that nothing
/// was done. Refunds of old orders have no id, so theirs may be absent.
fn refuse_other(own: Option<(&str, &str)>, id: Option<&str>) -> Result<(), String> {
    match (own, id) {
        (Some((member, own)), Some(id)) if !id.eq_ignore_ascii_case(own) => {
            Err(format!("with the document of another {member}"))
        }
        (Some((member, _)), None) if member != "refund_id" => Err(format!("with a document that has no {member}")),
        _ => Ok(()),
    }
}

/// The entries with this reference.
pub(crate) fn in_list(
    body: &[u8],
    identity: &Identity,
    search: Search,
    own: Option<(&str, &str)>,
    is_believed: impl Fn(&str) -> bool,
) -> Result<Matches, String> {
    let mut list =
        List { identity, search, matches: Matches::default(), seen: HashSet::new(), nameless: 0, listed: Some(0) };
    let mut source = serde_json::Deserializer::from_slice(bytes_without_mark(body));
    let read = match search.list {
        None => source.deserialize_seq(&mut list).map(|()| Shown::default()),
        Some(member) => source.deserialize_map(Members { list: (member, &mut list), own }),
    };
    let shown = read.and_then(|shown| source.end().map(|()| shown)).map_err(|_| NO_LIST)?;
    refuse_other(own.filter(|_| search.list.is_some()), shown.id.as_deref())?;
    let List { mut matches, seen, nameless, listed, .. } = list;
    if !seen.iter().all(|(id, _)| is_id(id) && is_believed(id)) {
        return Err("with an entry that has no id".into());
    }
    if matches.count() == 0 && nameless > 0 {
        return Err("with an entry of this amount that has no reference, so it may be the one".into());
    }
    matches.explains = shown.explains(search.explanation, identity.amount, listed);
    // An id that is listed with both amounts has this one.
    matches.others.retain(|id| !matches.ids.contains(id));
    Ok(matches)
}

/// Reads an object for a list in it, and gives what it says beside the list.
struct Members<'a, 'b> {
    list: (&'static str, &'a mut List<'b>),
    own: Option<(&'a str, &'a str)>,
}

/// The members of an object that count beside its list.
#[derive(Default)]
struct Shown {
    id: Option<String>,
    status: Option<String>,
    captured_amount: Option<i64>,
    refunded_amount: Option<i64>,
    remaining_authorized_amount: Option<i64>,
}

impl Shown {
    /// Whether the document explains that Klarna refuses a call of `amount`. Then an earlier call would be in the list, or
    /// was refused as well, however old the document is. `listed` is the sum of the entries: a list that lacks some of the
    /// total shows nothing.
    fn explains(&self, explanation: Explanation, amount: i64, listed: Option<i64>) -> bool {
        let is_less = |left: Option<i64>| left.is_some_and(|left| left < amount);
        match explanation {
            Explanation::Nothing => false,
            Explanation::NotRefundable => {
                let left = self.captured_amount.zip(self.refunded_amount).map(|(all, back)| all.saturating_sub(back));
                is_less(left) && listed == self.refunded_amount
            }
            Explanation::NotCapturable => {
                let has_ended = matches!(self.status.as_deref(), Some("CANCELLED" | "EXPIRED" | "CLOSED"));
                let is_whole = self.captured_amount.is_some() && listed == self.captured_amount;
                (has_ended || is_less(self.remaining_authorized_amount)) && is_whole
            }
        }
    }
}

impl<'de> Visitor<'de> for Members<'_, '_> {
    type Value = Shown;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shown, A::Error> {
        let mut shown = Shown::default();
        let mut known = [false; 6];
        let mut first = |which: usize| match std::mem::replace(&mut known[which], true) {
            true => Err(de::Error::custom(TWICE)),
            false => Ok(()),
        };
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            match self.own {
                _ if *name == *self.list.0 => {
                    first(0)?;
                    map.next_value_seed(&mut *self.list.1)?;
                }
                Some((member, _)) if *name == *member => {
                    first(1)?;
                    shown.id = map.next_value()?;
                }
                _ if *name == *"captured_amount" => {
                    first(2)?;
                    shown.captured_amount = map.next_value::<Value>()?.as_i64();
                }
                _ if *name == *"refunded_amount" => {
                    first(3)?;
                    shown.refunded_amount = map.next_value::<Value>()?.as_i64();
                }
                _ if *name == *"remaining_authorized_amount" => {
                    first(4)?;
                    shown.remaining_authorized_amount = map.next_value::<Value>()?.as_i64();
                }
                _ if *name == *"status" => {
                    first(5)?;
                    shown.status = map.next_value::<Value>()?.as_str().map(str::to_owned);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(shown)
    }
}

struct List<'a> {
    identity: &'a Identity,
    search: Search,
    matches: Matches,
    seen: HashSet<(String, bool)>,
    /// Entries with the amount and no reference, or an empty one.
    nameless: usize,
    /// The sum of all amounts, where each entry has one.
    listed: Option<i64>,
}

impl<'de> de::DeserializeSeed<'de> for &mut List<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<(), D::Error> {
        source.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element_seed(Entry(self.search))? {
            self.listed = self.listed.zip(entry.amount).and_then(|(sum, amount)| sum.checked_add(amount));
            let is_empty = entry.id.is_none() && entry.amount.is_none();
            let has_amount = entry.amount == Some(self.identity.amount);
            if is_empty || entry.reference.as_deref() != Some(&*self.identity.reference) {
                let is_nameless = entry.reference.is_none_or(|reference| reference.is_empty());
                self.nameless += usize::from(self.search.may_lack_names && has_amount && is_nameless);
                continue;
            }
            if entry.id.is_none() && has_amount && self.search.may_lack_names {
                self.matches.without_id += 1;
                continue;
            }
            // An entry without an id gets the empty text, which is refused in the end.
            let id = entry.id.unwrap_or_default();
            if self.seen.insert((id.clone(), has_amount)) {
                if has_amount { &mut self.matches.ids } else { &mut self.matches.others }.push(id);
            }
        }
        Ok(())
    }
}

/// An entry's members that count here; any may be missing.
struct Entry(Search);

#[derive(Default)]
struct EntryMembers {
    id: Option<String>,
    reference: Option<String>,
    amount: Option<i64>,
}

impl<'de> de::DeserializeSeed<'de> for Entry {
    type Value = EntryMembers;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<EntryMembers, D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry {
    type Value = EntryMembers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EntryMembers, A::Error> {
        let mut members = EntryMembers::default();
        let mut known = [false; 3];
        let mut first = |which: usize| match std::mem::replace(&mut known[which], true) {
            true => Err(de::Error::custom(TWICE)),
            false => Ok(()),
        };
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if *name == *self.0.id {
                first(0)?;
                members.id = map.next_value()?;
            } else if *name == *"reference" {
                first(1)?;
                members.reference = map.next_value()?;
            } else if *name == *self.0.amount {
                first(2)?;
                members.amount = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(members)
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations::{GET_CAPTURES, GET_ORDER, GET_REFUND};

    fn look(body: &str) -> Result<Vec<String>, String> {
        finds(body).map(|finds| finds.ids)
    }

    fn finds(body: &str) -> Result<Matches, String> {
        let identity = Identity { reference: "parcel-1".into(), amount: 6000 };
        let captures = Search {
            list: None,
            id: "capture_id",
            amount: "captured_amount",
            may_lack_names: false,
            explanation: Explanation::Nothing,
        };
        in_list(body.as_bytes(), &identity, captures, None, |id| id != "s3cret-s3cret")
    }

    fn capture(id: &str, reference: &str, amount: i64) -> String {
        format!(r#"{{"capture_id":"{id}","reference":"{reference}","captured_amount":{amount},"order_lines":[{{}}]}}"#)
    }

    #[test]
    fn found_once() {
        let list = [capture("a", "parcel-0", 6000), capture("b", "parcel-1", 6000), capture("c", "parcel-1", 5999)];
        assert_eq!(look(&format!("[{}]", list.join(","))).unwrap(), ["b"]);
        assert_eq!(look(&format!(" [{0} ,\n{0}]\t", list[1])).unwrap(), ["b"], "listed twice");
        let others = finds(&format!("[{},{}]", list[2], list[0])).unwrap();
        assert_eq!((others.ids.len(), others.others), (0, vec!["c".to_owned()]), "with another amount");
        let both = finds(&format!("[{},{}]", capture("b", "parcel-1", 5999), list[1])).unwrap();
        assert_eq!((both.ids, both.others.len()), (vec!["b".to_owned()], 0), "with both amounts");
    }

    #[test]
    fn absent_and_several() {
        for none in [
            "[]",
            "[{}]",
            r#"[{"captured_amount":6000}]"#,
            r#"[{"reference":"parcel-1"}]"#,
            r#"[{"reference":null,"captured_amount":null}]"#,
        ] {
            assert!(look(none).unwrap().is_empty(), "{none}");
        }
        let two = format!("[{},{}]", capture("a", "parcel-1", 6000), capture("b", "parcel-1", 6000));
        assert_eq!(look(&two).unwrap(), ["a", "b"]);
    }

    #[test]
    fn what_is_no_list_of_captures() {
        for nonsense in [
            "",
            "{}",
            "[",
            "[null]",
            "[1]",
            "<html>",
            "[]x",
            "[] []",
            "[,]",
            "[{},]",
            "[{}",
            "[{\"a\":\"]",
            "[{} {}]",
            "  ",
            r#"{"captures":[]}"#,
            r#"[["a","parcel-1",6000]]"#,
            r#"[{}, ["a","parcel-1",6000]]"#,
            r#"[{"captured_amount":6000.0}]"#,
            r#"[{"reference":"x","reference":"parcel-1","captured_amount":6000,"capture_id":"a"}]"#,
            r#"[{"reference":"parcel-1","captured_amount":6000}]"#,
            r#"[{"reference":"parcel-1","captured_amount":5999}]"#,
            r#"[{"capture_id":"s3cret-s3cret","reference":"parcel-1","captured_amount":6000}]"#,
            r#"[{"capture_id":"a/b","reference":"parcel-1","captured_amount":6000}]"#,
        ] {
            assert!(look(nonsense).is_err(), "{nonsense}");
        }
    }

    fn refunds(body: &str) -> Result<Matches, String> {
        let identity = Identity { reference: "return-1".into(), amount: 6000 };
        let search = Search {
            list: Some("refunds"),
            id: "refund_id",
            amount: "refunded_amount",
            may_lack_names: true,
            explanation: Explanation::NotRefundable,
        };
        in_list(body.as_bytes(), &identity, search, Some(("order_id", "o")), |_| true)
    }

    #[test]
    fn refunds_stand_in_their_order() {
        for (list, found) in [
            (r#"{"refund_id":"a","reference":"return-1","refunded_amount":6000}"#, Some(1)),
            (r#"{"reference":"return-1","refunded_amount":6000}"#, Some(1)),
            (r#"{"refund_id":"a","reference":"return-2","refunded_amount":6000}"#, Some(0)),
            (r#"{"refund_id":"a","refunded_amount":5000}"#, Some(0)),
            (r#"{"refund_id":"a","refunded_amount":6000}"#, None),
            (r#"{"refund_id":"a","refunded_amount":6000,"reference":null}"#, None),
            (r#"{"refund_id":"a","refunded_amount":6000,"reference":""}"#, None),
        ] {
            let matches = refunds(&format!(r#"{{"order_id":"o","refunds":[{list}]}}"#));
            assert_eq!(matches.map(|matches| matches.count()).ok(), found, "{list}");
        }
    }

    fn order(text: &str) -> Result<Document, String> {
        object(text.as_bytes(), GET_ORDER.face.document.unwrap(), Some(("order_id", "o")))
    }

    #[test]
    fn a_document_says_whose_it_is() {
        for nobodys in ["{}", r#"{"refunds":[]}"#, r#"{"order_id":null}"#, r#"{"order_id":"p"}"#, r#"{"order_id":7}"#] {
            assert!(refunds(nobodys).is_err() && order(nobodys).is_err(), "{nobodys}");
        }
        assert_eq!(refunds(r#"{"order_id":"o"}"#).unwrap().count(), 0);
        let refund = |text: &str| object(text.as_bytes(), GET_REFUND.face.document.unwrap(), Some(("refund_id", "r")));
        assert!(refund("{}").is_ok() && refund(r#"{"refund_id":null}"#).is_ok(), "refunds of old orders have none");
        for other in [
            r#"{"refund_id":"s"}"#,
            r#"{"refund_id":7}"#,
            r#"{"refund_id":["r"]}"#,
            r#"{"refund_id":"r","refund_id":"r"}"#,
            r#"{"refund_id":null,"refund_id":"r"}"#,
            r#"{"refund_id":"r"}x"#,
            r#"[{"refund_id":"r"}]"#,
            "7",
            "null",
            "",
        ] {
            assert!(refund(other).is_err(), "{other}");
        }
        for other in
            [r#"{"order_id":"o","order_id":"o"}"#, r#"{"order_id":null,"order_id":"o"}"#, r#"{"order_id":["o"]}"#]
        {
            assert!(order(other).is_err(), "{other}");
        }
        // The id of a part is not that of the whole.
        let of_a_part = r#"{"order_id":"o","refunds":[{"order_id":7}],"selected_payment_method":{"order_id":"p"}}"#;
        assert_eq!(order(of_a_part).map(drop), Ok(()));
        assert!(list(b"[]", GET_CAPTURES.face.document.unwrap()).is_ok());
        for other in ["{}", "[]]", "[", "null", "[{]"] {
            assert!(list(other.as_bytes(), GET_CAPTURES.face.document.unwrap()).is_err(), "{other}");
        }
    }

    #[test]
    fn ten_thousand_captures() {
        let list: Vec<String> = (0..10_000).map(|n| capture(&format!("c{n}"), &format!("parcel-{n}"), 6000)).collect();
        assert_eq!(look(&format!("[{}]", list.join(","))).unwrap(), ["c1"]);
    }
}
