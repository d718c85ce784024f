//! Idempotency keys: how they are made and what they may be.

use std::borrow::Cow;

use uuid::Uuid;

use crate::api::ids::{check_order_id, check_segment};
use crate::api::operation::Operation;
use crate::api::operations::{self, CAPTURE, OPERATIONS, REFUND};
use crate::error::Error;
use crate::text::{holds, oddity};

/// The longest idempotency key we send. Klarna documents no limit and recommends a UUID.
const MAX_KEY: usize = 255;

/// The namespace of derived keys. Any language can derive the same key:
/// UUID v5 of this namespace and the text `{key word of the operation}/{order_id}/{name}`.
const NAMESPACE: Uuid = Uuid::from_u128(0x8f0b_7c0e_51d4_4f0a_9c53_2b6f_d0a1_74e6);

/// Derives the idempotency key of the capture called `name` of an order: the same two texts
/// give the same key after a crash, on any host, in every language (a UUID v5).
///
/// `name` says which capture of the order it is, such as `"parcel-1"`: 1 to 255 characters
/// without characters that nobody sees and in Unicode's composed form (NFC), which count byte for byte
/// (`"Parcel-1"` is another name). Two parcels need two names. Klarna answers a known key with
/// the first result whatever the body says, so one key for two parcels would lose the second.
///
/// The key is UUID v5 of the namespace `8f0b7c0e-51d4-4f0a-9c53-2b6fd0a174e6` and the UTF-8
/// text `captures/{order_id}/{name}`, where an order id that is a UUID is in small letters.
///
/// # Errors
///
/// `invalid_input` when the order id or the name cannot be one.
///
/// ```
/// let key = takings::idempotency_key("f3392f8b-6116-4073-ab96-e330819e2c07", "parcel-1")?;
/// assert_eq!(key, "e642b253-7331-5441-bb3d-c291abd550aa");
/// # Ok::<(), takings::Error>(())
/// ```
pub fn idempotency_key(order_id: &str, name: &str) -> Result<String, Error> {
    derived(&CAPTURE, order_id, None, name)
}

/// Derives the key of a call to any operation that changes something. Each operation has a word of its own in the
/// derivation, so that a refund and a capture of one name never share a key. `"capture"` gives that of
/// [`idempotency_key`].
///
/// # Errors
///
/// `invalid_input` when there is no such operation, it takes no key, or the order id or the name cannot be one. So it is
/// when `capture_id` is left out for an operation on a capture, or given for another.
///
/// ```
/// let order = "f3392f8b-6116-4073-ab96-e330819e2c07";
/// let key = takings::idempotency_key_for("refund", order, None, "return-1")?;
/// assert_eq!(key, "34036f9b-68e4-582b-9f05-841632db6e68");
/// # Ok::<(), takings::Error>(())
/// ```
pub fn idempotency_key_for(
    operation: &str,
    order_id: &str,
    capture_id: Option<&str>,
    name: &str,
) -> Result<String, Error> {
    let operation = operations::named(operation)?;
    let has_capture = operation.path.contains("{capture_id}");
    match capture_id {
        Some(_) if operation.writes() && !has_capture => {
            let got = format!("given for {}, which is for the whole order", operation.name);
            Err(Error::invalid_argument("capture_id", &got, "left out there"))
        }
        None if operation.writes() && has_capture => {
            let got = format!("left out for {}, which is for one capture", operation.name);
            Err(Error::invalid_argument("capture_id", &got, "Klarna's id of the capture"))
        }
        _ => derived(operation, order_id, capture_id, name),
    }
}

fn derived(operation: &Operation, order_id: &str, capture_id: Option<&str>, name: &str) -> Result<String, Error> {
    if !operation.writes() {
        let got = format!("{:?}, which changes nothing and takes no key", operation.name);
        return Err(Error::invalid_argument("operation", &got, "one that changes something, such as \"capture\""));
    }
    check_order_id(order_id)?;
    if let Some(capture_id) = capture_id {
        check_segment("capture_id", capture_id, "capture")?;
    }
    const ALLOWED: &str =
        "1 to 255 characters without blanks at its ends or characters that nobody sees, such as \"parcel-1\"";
    if let Some(oddity) = oddity(name) {
        return Err(Error::odd("name", &oddity, ALLOWED));
    }
    match name.chars().count() {
        0 => Err(Error::invalid_argument("name", "empty", ALLOWED)),
        1..=255 => {
            let below = capture_id.map(|id| format!("{}/", in_small_letters(id))).unwrap_or_default();
            Ok(of_word(operation.key_word, order_id, &below, name))
        }
        length => Err(Error::invalid_argument("name", &format!("{length} characters long"), ALLOWED)),
    }
}

/// The calls whose plan chooses an amount, and the operation that makes the change.
const OF_AMOUNT: [(&Operation, &Operation); 2] =
    [(&operations::CAPTURE_REMAINING, &CAPTURE), (&operations::REFUND_REMAINING, &REFUND)];

/// Refuses a key that was derived for another operation of this order, by the name that this request has for its
/// reference: Klarna looks at the key alone, and would answer with what that one did.
pub(crate) fn check_operation(
    key: &str,
    operation: &Operation,
    order_id: &str,
    (reference, amount): (&str, i64),
) -> Result<(), Error> {
    const VERSION: Option<&u8> = Some(&b'5');
    if key.len() != 36 || key.as_bytes().get(14) != VERSION {
        return Ok(());
    }
    let Ok(own) = derived(operation, order_id, None, reference) else { return Ok(()) };
    if own == key {
        return Ok(());
    }
    let others = OPERATIONS.iter().filter(|other| other.writes() && **other != operation);
    let others = others.filter(|other| !other.path.contains("{capture_id}"));
    let is_of_other = |other: &&&Operation| derived(other, order_id, None, reference).is_ok_and(|other| other == key);
    let is_of_amount = |(other, makes): &&(&Operation, &Operation)| {
        *makes != operation && of_amount(other, order_id, None, amount, reference).is_ok_and(|other| other == key)
    };
    let name = others.clone().find(is_of_other).map(|other| other.name);
    let Some(name) = name.or_else(|| OF_AMOUNT.iter().find(is_of_amount).map(|(other, _)| other.name)) else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "idempotency_key {key} was derived for the operation {name}, by the name that is this request's reference; Klarna \
         would answer {} with that one and carry out nothing; derive the key for the operation {} ({own})",
        operation.nouns.call, operation.name
    )))
}

/// The key of a call whose plan chose the amount. The amount belongs to the key: Klarna would answer another amount with
/// the result of the first.
pub(crate) fn of_amount(
    operation: &Operation,
    order_id: &str,
    capture_id: Option<&str>,
    amount: i64,
    reference: &str,
) -> Result<String, Error> {
    check_order_id(order_id)?;
    let below = capture_id.map(|id| format!("{}/", in_small_letters(id))).unwrap_or_default();
    Ok(of_word(operation.key_word, order_id, &format!("{below}{amount}/"), reference))
}

fn of_word(key_word: &str, order_id: &str, below: &str, name: &str) -> String {
    let text = format!("{key_word}/{}/{below}{name}", in_small_letters(order_id));
    Uuid::new_v5(&NAMESPACE, text.as_bytes()).to_string()
}

/// Twelve hexadecimal digits that stand for a secret. Nobody gets from them to a secret that cannot be guessed.
pub(crate) fn digest(what: &str, secret: &str) -> String {
    let digest = Uuid::new_v5(&NAMESPACE, format!("digest/{what}/{secret}").as_bytes()).simple().to_string();
    digest[..12].to_owned()
}

/// An id whose letters are the same id in either case, as those of a UUID are, in small letters.
pub(crate) fn in_small_letters(id: &str) -> Cow<'_, str> {
    let small = Uuid::try_parse(id).map(|uuid| uuid.to_string()).ok();
    small.filter(|small| small.eq_ignore_ascii_case(id)).map_or(Cow::Borrowed(id), Cow::Owned)
}

/// A fresh random key (UUID v4), for a caller that wants to store it before the call.
///
/// # Errors
///
/// `internal` when the operating system gives no random bytes.
pub fn new_idempotency_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    // The system is asked each time: a fork would copy a generator kept in memory, and parent and child would use one
    // key for two captures.
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(
            crate::ErrorKind::Internal,
            format!("the operating system gives no random bytes ({error}); nothing was sent"),
        )
    })?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string())
}

pub(crate) fn check_key(key: &str) -> Result<(), Error> {
    let allowed = format!(
        "1 to {MAX_KEY} printable ASCII characters without spaces, best a UUID (idempotency_key(order_id, name) derives \
         one)"
    );
    let got = if key.is_empty() {
        "empty".to_owned()
    } else if key.len() > MAX_KEY {
        format!("{} bytes long", key.len())
    } else if let Some(index) = key.chars().position(|c| !c.is_ascii_graphic()) {
        return Err(Error::odd("idempotency_key", &holds(key, index), &allowed));
    } else {
        return Ok(());
    };
    Err(Error::invalid_argument("idempotency_key", &got, &allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_keys_are_uuids_and_differ() {
        let (a, b) = (new_idempotency_key().unwrap(), new_idempotency_key().unwrap());
        assert_ne!(a, b);
        assert_eq!(Uuid::parse_str(&a).unwrap().get_version_num(), 4);
    }

    #[test]
    fn a_key_is_safe_as_a_header() {
        for bad in ["", " ", "a b", "a\r\nX: y", "ключ", "a\0", "\u{7f}", &"k".repeat(256)] {
            assert!(check_key(bad).is_err(), "{bad:?}");
        }
        assert!(check_key(&"k".repeat(255)).is_ok());
    }

    #[test]
    fn names_are_checked() {
        for bad in ["", "a\nb", &"n".repeat(256), "parcel-1 ", "parcel\u{200b}-1", "parcel\u{a0}1", "cafe\u{301}"] {
            assert!(idempotency_key("order", bad).is_err(), "{bad:?}");
        }
        let id = "f3392f8b-6116-4073-ab96-e330819e2c07";
        assert_eq!(idempotency_key(&id.to_uppercase(), "n").unwrap(), idempotency_key(id, "n").unwrap());
        assert_ne!(idempotency_key("O", "n").unwrap(), idempotency_key("o", "n").unwrap());
        assert_ne!(idempotency_key("o", "parcel-1").unwrap(), idempotency_key("o", "parcel-2").unwrap());
    }

    #[test]
    fn operations_that_take_no_key_derive_none() {
        assert_eq!(idempotency_key_for("capture", "o", None, "n").unwrap(), idempotency_key("o", "n").unwrap());
        assert!(idempotency_key_for("reconcile", "o", None, "n").unwrap_err().message().contains("takes no key"));
        assert!(idempotency_key_for("refunds", "o", None, "n").is_err());
        assert!(idempotency_key_for("refund", "o", Some("c"), "n").unwrap_err().message().contains("whole order"));
        assert!(idempotency_key_for("extend_due_date", "o", None, "n").unwrap_err().message().contains("one capture"));
    }

    #[test]
    fn a_key_of_another_operation_is_refused() {
        let order = "f3392f8b-6116-4073-ab96-e330819e2c07";
        let check = |key: &str, operation| check_operation(key, operation, order, ("return-1", 1500));
        let of = |operation| idempotency_key_for(operation, order, None, "return-1").unwrap();
        for (operation, other) in [(&REFUND, "capture"), (&REFUND, "cancel"), (&CAPTURE, "refund")] {
            let message = check(&of(other), operation).unwrap_err();
            assert!(message.message().contains(&format!("was derived for the operation {other}")), "{message}");
            assert!(message.message().contains(&of(operation.name)), "{message}");
        }
        let remaining = of_amount(&operations::CAPTURE_REMAINING, order, None, 1500, "return-1").unwrap();
        assert!(check(&remaining, &REFUND).is_err());
        assert_eq!(check(&remaining, &CAPTURE), Ok(()));
        for key in [of("refund").as_str(), "return-1", &idempotency_key(order, "return-2").unwrap()] {
            assert_eq!(check(key, &REFUND), Ok(()), "{key}");
        }
    }

    #[test]
    fn the_amount_belongs_to_the_key_of_a_rest() {
        let order = "f3392f8b-6116-4073-ab96-e330819e2c07";
        let key = of_amount(&operations::CAPTURE_REMAINING, order, None, 6000, "parcel-1").unwrap();
        assert_eq!(key, "979f5bb4-d416-5c02-bad7-a38b92c290ee");
        let other = of_amount(&operations::CAPTURE_REMAINING, order, None, 5999, "parcel-1").unwrap();
        let refund = of_amount(&operations::REFUND_REMAINING, order, None, 6000, "parcel-1").unwrap();
        assert!(key != other && key != refund);
    }

    /// Any language can derive these.
    #[test]
    fn each_operation_has_keys_of_its_own() {
        let (order, capture) = ("f3392f8b-6116-4073-ab96-e330819e2c07", "4ba29b50-be7b-44f5-a492-113e6a865e22");
        for (operation, capture_id, name, key) in [
            ("refund", None, "return-1", "34036f9b-68e4-582b-9f05-841632db6e68"),
            ("append_order_shipping_info", None, "parcel-1", "5add3142-f8f6-5dca-bc60-b12d62d65420"),
            ("append_shipping_info", Some(capture), "parcel-1", "ecc93ae8-c25e-58f3-b694-c321afcac84a"),
            ("extend_due_date", Some(capture), "2026-12-01", "0e8c95da-fea1-54d7-a282-bc8e43c01a7d"),
        ] {
            assert_eq!(idempotency_key_for(operation, order, capture_id, name).as_deref(), Ok(key), "{operation}");
        }
    }
}
