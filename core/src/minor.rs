//! Amounts as people write them, as Klarna counts them.

use iso_currency::Currency;

use crate::error::Error;

/// Converts a decimal amount to the minor units that Klarna counts in, exactly or not at all:
/// `minor("60.00", "EUR")` is `6000`.
///
/// `amount` is a decimal number such as `60`, `-4.5` or `60.00`, with a point and without a
/// thousands separator, sign `+`, exponent or spaces. `currency` is a code of ISO 4217 in upper or
/// lower case, whose number of decimals counts: 2 for `EUR`, 0 for `JPY`, 3 for `KWD`. Further
/// zeros are passed over; any other digit there is refused, since nothing is rounded.
///
/// # Errors
///
/// `invalid_input`, naming the argument.
pub fn minor(amount: &str, currency: &str) -> Result<i64, Error> {
    let decimals = known(currency)
        .ok_or_else(|| {
            Error::invalid_argument("currency", &shown(currency), "a currency code of ISO 4217, such as \"EUR\"")
        })?
        .exponent()
        .ok_or_else(|| {
            Error::invalid_argument("currency", &shown(currency), "the code of a currency that has an amount")
        })?;
    let decimals = usize::from(decimals);
    let refuse = |what: &str| {
        Err(Error::invalid_argument(
            "amount",
            &format!("{} ({what})", shown(amount)),
            &format!(
                "a decimal number with at most {decimals} decimals in {}, such as {}",
                currency.to_ascii_uppercase(),
                sample(decimals)
            ),
        ))
    };
    let (negative, digits) = match amount.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, amount),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return refuse("no digit after the point"),
        Some(parts) => parts,
        None => (digits, ""),
    };
    if whole.is_empty() {
        return refuse("no digit before the point");
    }
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return refuse(if digits.contains(',') { "with a comma" } else { "not a decimal number" });
    }
    let (kept, beyond) = fraction.split_at(fraction.len().min(decimals));
    if beyond.bytes().any(|byte| byte != b'0') {
        return refuse("which would have to be rounded");
    }
    let mut text = String::with_capacity(1 + whole.len() + decimals);
    if negative {
        text.push('-');
    }
    text.push_str(whole);
    text.push_str(kept);
    text.extend(std::iter::repeat_n('0', decimals - kept.len()));
    text.parse().or_else(|_| refuse("too large"))
}

fn known(currency: &str) -> Option<Currency> {
    let code = Some(currency).filter(|code| code.len() == 3 && code.is_ascii());
    code.and_then(|code| Currency::from_code(&code.to_ascii_uppercase()))
}

/// How many decimals the amounts of a currency have; none for a code that is not known.
pub(crate) fn decimals(currency: &str) -> Option<u32> {
    known(currency)?.exponent().map(u32::from)
}

fn sample(decimals: usize) -> String {
    match decimals {
        0 => "60".into(),
        _ => format!("60.{}", "0".repeat(decimals)),
    }
}

/// A short text as it is, a long one by its length.
fn shown(text: &str) -> String {
    match text.chars().count() {
        0 => "empty".into(),
        1..=40 => format!("{text:?}"),
        length => format!("a text of {length} characters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (amount, currency, expected) in [
            ("60.00", "EUR", 6000),
            ("60", "EUR", 6000),
            ("60.5", "eur", 6050),
            ("0.01", "USD", 1),
            ("0.00", "USD", 0),
            ("-4.50", "SEK", -450),
            ("-0", "SEK", 0),
            ("007.10", "SEK", 710),
            ("60.00000", "EUR", 6000),
            ("1500", "JPY", 1500),
            ("1500.00", "JPY", 1500),
            ("1.234", "KWD", 1234),
            ("1.2345", "CLF", 12345),
            ("92233720368547758.07", "EUR", i64::MAX),
            ("-92233720368547758.08", "EUR", i64::MIN),
        ] {
            assert_eq!(minor(amount, currency).map_err(|error| error.to_string()), Ok(expected), "{amount} {currency}");
        }
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        for amount in [
            "",
            "-",
            ".",
            ".5",
            "5.",
            "-.5",
            "+5",
            " 5",
            "5 ",
            "5e2",
            "1,50",
            "1,000.00",
            "1.2.3",
            "--5",
            "0x10",
            "NaN",
            "inf",
            "٣",
            "60.001",
            "60.00٣",
            "92233720368547758.08",
            "\u{2212}5",
            "5\0",
        ] {
            let error = minor(amount, "EUR").expect_err(amount);
            assert!(error.message().starts_with("amount is "), "{error}");
        }
        assert!(minor("1.5", "JPY").is_err());
        assert!(minor("1.2345", "KWD").is_err());
        for currency in ["", "EU", "EURO", "€", "XYZ", "XAU", "XXX", "978", "ÆØÅ"] {
            let error = minor("1", currency).expect_err(currency);
            assert!(error.message().starts_with("currency is "), "{error}");
        }
    }

    #[test]
    fn the_message_says_the_way_out() {
        assert_eq!(
            minor("19,99", "EUR").unwrap_err().message(),
            "amount is \"19,99\" (with a comma); it must be a decimal number with at most 2 decimals in EUR, such as 60.00"
        );
        assert_eq!(
            minor("19.99", "JPY").unwrap_err().message(),
            "amount is \"19.99\" (which would have to be rounded); it must be a decimal number with at most 0 decimals in JPY, \
             such as 60"
        );
    }
}
