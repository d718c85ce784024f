//! Matches what a call did among what Klarna lists, by its reference and its amount.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::api::reply::Matches;
use crate::text::bytes_without_mark;
use crate::wire::answer::is_id;

/// The reference and amount that distinguish a capture, or refund, from the order's others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub reference: String,
    pub amount: i64,
}

const NO_LIST: &str = "with something else than the list that was asked for";

/// The text of a JSON object.
pub(crate) fn object(body: &[u8]) -> Result<String, String> {
    const NO_OBJECT: &str = "with something else than a document";
    let text = std::str::from_utf8(body).map_err(|_| NO_OBJECT)?;
    if !text.trim_start().starts_with('{') || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return Err(NO_OBJECT.into());
    }
    Ok(text.to_owned())
}

/// The entries with this reference. `id` and `amount` are the names of their members.
pub(crate) fn in_list(
    body: &[u8],
    identity: &Identity,
    id: &'static str,
    amount: &'static str,
    is_believed: impl Fn(&str) -> bool,
) -> Result<Matches, String> {
    let mut list = List { identity, id, amount, finds: Matches::default(), seen: HashSet::new() };
    let mut source = serde_json::Deserializer::from_slice(bytes_without_mark(body));
    source.deserialize_seq(&mut list).and_then(|()| source.end()).map_err(|_| NO_LIST)?;
    let List { mut finds, seen, .. } = list;
    if !seen.iter().all(|(id, _)| is_id(id) && is_believed(id)) {
        return Err("with an entry that has no id".into());
    }
    // An id that is listed with both amounts has this one.
    finds.others.retain(|id| !finds.ids.contains(id));
    Ok(finds)
}

struct List<'a> {
    identity: &'a Identity,
    id: &'static str,
    amount: &'static str,
    finds: Matches,
    seen: HashSet<(String, bool)>,
}

impl<'de> Visitor<'de> for &mut List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element_seed(Entry { id: self.id, amount: self.amount })? {
            let is_empty = entry.id.is_none() && entry.amount.is_none();
            if is_empty || entry.reference.as_deref() != Some(&*self.identity.reference) {
                continue;
            }
            // An entry without an id gets the empty text, which is refused below.
            let id = entry.id.unwrap_or_default();
            let has_amount = entry.amount == Some(self.identity.amount);
            if self.seen.insert((id.clone(), has_amount)) {
                if has_amount { &mut self.finds.ids } else { &mut self.finds.others }.push(id);
            }
        }
        Ok(())
    }
}

/// An entry's members that count here; any may be missing.
struct Entry {
    id: &'static str,
    amount: &'static str,
}

#[derive(Default)]
struct Members {
    id: Option<String>,
    reference: Option<String>,
    amount: Option<i64>,
}

impl<'de> de::DeserializeSeed<'de> for Entry {
    type Value = Members;
    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Members, D::Error> {
        source.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Members::default();
        let mut known = [false; 3];
        let mut first = |which: usize| match std::mem::replace(&mut known[which], true) {
            true => Err(de::Error::custom("a member that stands twice")),
            false => Ok(()),
        };
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            if *name == *self.id {
                first(0)?;
                members.id = map.next_value()?;
            } else if *name == *"reference" {
                first(1)?;
                members.reference = map.next_value()?;
            } else if *name == *self.amount {
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

    fn look(body: &str) -> Result<Vec<String>, String> {
        finds(body).map(|finds| finds.ids)
    }

    fn finds(body: &str) -> Result<Matches, String> {
        let identity = Identity { reference: "parcel-1".into(), amount: 6000 };
        in_list(body.as_bytes(), &identity, "capture_id", "captured_amount", |id| id != "s3cret-s3cret")
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

    #[test]
    fn ten_thousand_captures() {
        let list: Vec<String> = (0..10_000).map(|n| capture(&format!("c{n}"), &format!("parcel-{n}"), 6000)).collect();
        assert_eq!(look(&format!("[{}]", list.join(","))).unwrap(), ["c1"]);
    }
}
