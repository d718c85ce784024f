//! The arithmetic of order lines, as a choice: Klarna documents no check of it on a capture,
//! but lines that do not add up are usually a bug in the shop.

use crate::api::request::{OrderLine, OrderLineType};
use crate::error::Error;
use crate::strict::words;

words! {
    /// The treatment of order lines that do not add up.
    pub enum CheckLines: closed {
        /// Do not check.
        Off = "off",
        /// Capture, and say so in [`Capture::warnings`](crate::Capture::warnings).
        Warn = "warn",
        /// Refuse as `invalid_input` before anything is sent.
        Refuse = "refuse",
    }
}

/// The lines that do not add up, as texts; an error instead where that was asked for. `amount` is the amount that they
/// are for, with the name of its field.
pub(crate) fn check(
    lines: Option<&[OrderLine]>,
    amount: (&str, i64),
    choice: CheckLines,
) -> Result<Vec<String>, Error> {
    let lines = lines.unwrap_or_default();
    let findings = match choice {
        CheckLines::Off => return Ok(Vec::new()),
        CheckLines::Warn | CheckLines::Refuse => findings(lines, amount),
    };
    match (choice, findings.first()) {
        (CheckLines::Refuse, Some(first)) => {
            let more = match findings.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more like it)"),
            };
            Err(Error::invalid(format!("{first}{more}; fix the lines, or set check_lines to warn or off")))
        }
        _ => Ok(findings),
    }
}

/// Klarna takes a return fee only where the lines sum to the refund, so another sum is refused whatever the choice.
pub(crate) fn check_return_fee(lines: Option<&[OrderLine]>, (field, amount): (&str, i64)) -> Result<(), Error> {
    let lines = lines.unwrap_or_default();
    let sum: i128 = lines.iter().map(|line| i128::from(line.total_amount)).sum();
    let has_fee = lines.iter().any(|line| line.line_type == Some(OrderLineType::ReturnFee));
    if !has_fee || sum == amount.into() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{field} is {amount}; with a line of the type return_fee it must be the sum of the lines' total_amount, which is \
         {sum}"
    )))
}

fn findings(lines: &[OrderLine], (field, amount): (&str, i64)) -> Vec<String> {
    let mut findings = Vec::new();
    // 128 bits: quantity alone may fill 64
    let mut sum = 0_i128;
    for (index, line) in lines.iter().enumerate() {
        let total = i128::from(line.total_amount);
        let (quantity, price) = (i128::from(line.quantity), i128::from(line.unit_price));
        let discount = i128::from(line.total_discount_amount.unwrap_or(0));
        sum += total;
        let expected = quantity * price - discount;
        if total != expected {
            findings.push(format!(
                "order_lines[{index}].total_amount is {total}; {quantity} x {price} - {discount} is {expected} \
                 (difference {})",
                total - expected
            ));
        }
        if let (Some(rate), Some(tax)) = (line.tax_rate, line.total_tax_amount) {
            let (rate, tax) = (i128::from(rate), i128::from(tax));
            // total - total * 10000 / (10000 + rate), compared without rounding
            let base = 10_000 + rate;
            if base > 0 && (tax * base - total * rate).abs() > base {
                // in hundredths, rounded away from the tax, so that the difference shown is above 1 as well
                let exact = 100 * total * rate;
                let expected =
                    if tax * base > total * rate { exact.div_euclid(base) } else { -(-exact).div_euclid(base) };
                findings.push(format!(
                    "order_lines[{index}].total_tax_amount is {tax}; {total} at a tax_rate of {rate} contains {} \
                     (difference {}, 1 is allowed)",
                    hundredths(expected),
                    hundredths(100 * tax - expected)
                ));
            }
        }
    }
    let amount = i128::from(amount);
    if !lines.is_empty() && sum != amount {
        findings.push(format!(
            "{field} is {amount}; the total_amount of {} lines sums to {sum} (difference {})",
            lines.len(),
            amount - sum
        ));
    }
    findings
}

/// 110040 as 1100.4
fn hundredths(value: i128) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let (whole, rest) = (value.unsigned_abs() / 100, value.unsigned_abs() % 100);
    match rest {
        0 => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{}", format!("{rest:02}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request::OrderLine;

    fn with(lines: Vec<OrderLine>, captured_amount: i64) -> Vec<String> {
        findings(&lines, ("captured_amount", captured_amount))
    }

    fn line(quantity: i64, price: i64, discount: i64, rate: i64, total: i64, tax: i64) -> OrderLine {
        let mut line = OrderLine::new("x", quantity, price, total);
        line.total_discount_amount = Some(discount);
        line.tax_rate = Some(rate);
        line.total_tax_amount = Some(tax);
        line
    }

    #[test]
    fn lines_that_add_up_pass() {
        assert_eq!(with(vec![line(3, 1990, 470, 2500, 5500, 1100)], 5500), [""; 0]);
        assert_eq!(with(vec![line(10, 600, 0, 2500, 6000, 1200), line(1, -600, 0, 2500, -600, -120)], 5400), [""; 0]);
        assert_eq!(with(vec![], 1), [""; 0]);
    }

    #[test]
    fn tax_may_be_off_by_one() {
        for tax in [1099, 1100, 1101] {
            assert_eq!(with(vec![line(1, 5500, 0, 2500, 5500, tax)], 5500), [""; 0]);
        }
        for tax in [1098, 1102] {
            assert_eq!(with(vec![line(1, 5500, 0, 2500, 5500, tax)], 5500).len(), 1);
        }
    }

    #[test]
    fn a_tax_is_compared_with_what_the_message_says() {
        for (total, rate, tax, says) in [
            (5502, 2500, 1099, Some("contains 1100.4 (difference -1.4, 1 is allowed)")),
            (5502, 2500, 1100, None),
            (5502, 2500, 1101, None),
            (5502, 2500, 1102, Some("contains 1100.4 (difference 1.6, 1 is allowed)")),
            (6001, 1900, 957, Some("contains 958.15 (difference -1.15, 1 is allowed)")),
            // contains 15.0084
            (94, 1900, 16, None),
            (94, 1900, 14, Some("contains 15.01 (difference -1.01, 1 is allowed)")),
            (-5502, 2500, -1102, Some("contains -1100.4 (difference -1.6, 1 is allowed)")),
            (0, 2500, -2, Some("contains 0 (difference -2, 1 is allowed)")),
        ] {
            let found = with(vec![line(1, total, 0, rate, total, tax)], total);
            assert_eq!(found.len(), usize::from(says.is_some()), "{total} {rate} {tax}: {found:?}");
            if let Some(says) = says {
                assert!(found[0].ends_with(says), "{found:?}");
            }
        }
    }

    #[test]
    fn a_finding_names_the_line_both_figures_and_the_difference() {
        assert_eq!(
            with(vec![line(10, 600, 0, 2500, 5900, 1180)], 6000),
            [
                "order_lines[0].total_amount is 5900; 10 x 600 - 0 is 6000 (difference -100)",
                "captured_amount is 6000; the total_amount of 1 lines sums to 5900 (difference 100)",
            ]
        );
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let findings = with(vec![line(i64::MAX, i64::MIN, i64::MAX, i64::from(i32::MAX), i64::MIN, i64::MAX); 1000], 1);
        assert_eq!(findings.len(), 2001);
    }

    #[test]
    fn refusing_is_a_choice() {
        let lines = [OrderLine::new("x", 1, 2, 3)];
        let check = |choice| check(Some(&lines), ("captured_amount", 1), choice);
        assert_eq!(check(CheckLines::Off).unwrap().len(), 0);
        assert_eq!(check(CheckLines::Warn).unwrap().len(), 2);
        let error = check(CheckLines::Refuse).unwrap_err();
        assert!(error.message().contains("and 1 more"), "{error}");
    }

    #[test]
    fn a_return_fee_wants_exact_sums() {
        let mut fee = OrderLine::new("fee", 1, -300, -300);
        fee.line_type = Some(OrderLineType::ReturnFee);
        let lines = [OrderLine::new("x", 1, 1000, 1000), fee];
        assert!(check_return_fee(Some(&lines), ("refunded_amount", 700)).is_ok());
        let error = check_return_fee(Some(&lines), ("refunded_amount", 1000)).unwrap_err();
        assert!(error.message().contains("the sum of the lines' total_amount, which is 700"), "{error}");
        assert!(check_return_fee(Some(&lines[..1]), ("refunded_amount", 5)).is_ok(), "no fee");
    }
}
