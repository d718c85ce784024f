//! The arithmetic of order lines, as a choice: Klarna documents no check of it on a capture,
//! but lines that do not add up are usually a bug in the shop.

use crate::api::request::{OrderLine, OrderLineType};
use crate::error::Error;
use crate::strict::{Watch, words};

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
    match choice {
        CheckLines::Off => Ok(Vec::new()),
        CheckLines::Warn | CheckLines::Refuse => chosen(findings(lines, amount), choice),
    }
}

fn chosen(findings: Vec<String>, choice: CheckLines) -> Result<Vec<String>, Error> {
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
    fee_fits(has_fee, sum, (field, amount))
}

fn fee_fits(has_fee: bool, sum: i128, (field, amount): (&str, i64)) -> Result<(), Error> {
    if !has_fee || sum == amount.into() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{field} is {amount}; with a line of the type return_fee it must be the sum of the lines' total_amount, which is \
         {sum}"
    )))
}

fn findings(lines: &[OrderLine], amount: (&str, i64)) -> Vec<String> {
    let mut sums = Sums::default();
    for line in lines {
        sums.add(&Amounts {
            quantity: line.quantity,
            unit_price: line.unit_price,
            total_amount: line.total_amount,
            total_discount_amount: line.total_discount_amount.unwrap_or(0),
            tax_rate: line.tax_rate,
            total_tax_amount: line.total_tax_amount,
        });
    }
    sums.findings(amount)
}

/// The amounts of a line.
#[derive(Default)]
struct Amounts {
    quantity: i64,
    unit_price: i64,
    total_amount: i64,
    total_discount_amount: i64,
    tax_rate: Option<i64>,
    total_tax_amount: Option<i64>,
}

/// The sum of lines, and the findings about each of them.
#[derive(Default)]
struct Sums {
    count: usize,
    /// 128 bits: quantity alone may fill 64.
    sum: i128,
    findings: Vec<String>,
}

impl Sums {
    #[inline]
    fn add(&mut self, line: &Amounts) {
        let total = i128::from(line.total_amount);
        self.sum += total;
        let expected = i128::from(line.quantity) * i128::from(line.unit_price) - i128::from(line.total_discount_amount);
        if total != expected {
            self.note_total(line, expected);
        }
        if let (Some(rate), Some(tax)) = (line.tax_rate, line.total_tax_amount) {
            let (rate, tax) = (i128::from(rate), i128::from(tax));
            // total - total * 10000 / (10000 + rate), compared without rounding
            let base = 10_000 + rate;
            if base > 0 && (tax * base - total * rate).abs() > base {
                self.note_tax(total, rate, tax);
            }
        }
        self.count += 1;
    }

    #[cold]
    fn note_total(&mut self, line: &Amounts, expected: i128) {
        let &Amounts { quantity, unit_price, total_amount, total_discount_amount, .. } = line;
        self.findings.push(format!(
            "order_lines[{}].total_amount is {total_amount}; {quantity} x {unit_price} - {total_discount_amount} is \
             {expected} (difference {})",
            self.count,
            i128::from(total_amount) - expected
        ));
    }

    #[cold]
    fn note_tax(&mut self, total: i128, rate: i128, tax: i128) {
        let base = 10_000 + rate;
        // in hundredths, rounded away from the tax, so that the difference shown is above 1 as well
        let exact = 100 * total * rate;
        let expected = if tax * base > total * rate { exact.div_euclid(base) } else { -(-exact).div_euclid(base) };
        self.findings.push(format!(
            "order_lines[{}].total_tax_amount is {tax}; {total} at a tax_rate of {rate} contains {} (difference {}, 1 \
             is allowed)",
            self.count,
            hundredths(expected),
            hundredths(100 * tax - expected)
        ));
    }

    /// The findings about each line, and about their sum.
    fn findings(mut self, (field, amount): (&str, i64)) -> Vec<String> {
        let amount = i128::from(amount);
        if self.count > 0 && self.sum != amount {
            self.findings.push(format!(
                "{field} is {amount}; the total_amount of {} lines sums to {} (difference {})",
                self.count,
                self.sum,
                amount - self.sum
            ));
        }
        self.findings
    }
}

/// The facts of a request that is written while it is read: its amount, its reference and its lines.
pub(crate) struct Tally {
    /// The name of the request's type, and of the field with its amount.
    request: &'static str,
    field: &'static str,
    amount: i64,
    reference: String,
    line: Amounts,
    sums: Sums,
    has_return_fee: bool,
}

impl Tally {
    pub fn new(request: &'static str, field: &'static str) -> Tally {
        Tally {
            request,
            field,
            amount: 0,
            reference: String::new(),
            line: Amounts::default(),
            sums: Sums::default(),
            has_return_fee: false,
        }
    }

    /// The reference, if it names something, and the amount.
    pub fn identity(&self) -> Option<(String, i64)> {
        (!self.reference.is_empty()).then(|| (self.reference.clone(), self.amount))
    }

    /// As [`check`], and before it [`check_return_fee`] where a `fee` is Klarna's concern.
    pub fn findings(self, fee: bool, choice: CheckLines) -> Result<Vec<String>, Error> {
        let amount = (self.field, self.amount);
        fee_fits(fee && self.has_return_fee, self.sums.sum, amount)?;
        match choice {
            CheckLines::Off => Ok(Vec::new()),
            CheckLines::Warn | CheckLines::Refuse => chosen(self.sums.findings(amount), choice),
        }
    }
}

impl Watch for Tally {
    #[inline(always)]
    fn saw(&mut self, object: &'static str, field: &'static str, number: Option<i64>, written: &[u8]) {
        let value = number.unwrap_or_default();
        match (object, field) {
            ("OrderLine", "type") => self.has_return_fee |= written == br#""return_fee""#,
            ("OrderLine", "quantity") => self.line.quantity = value,
            ("OrderLine", "unit_price") => self.line.unit_price = value,
            ("OrderLine", "total_amount") => self.line.total_amount = value,
            ("OrderLine", "total_discount_amount") => self.line.total_discount_amount = value,
            ("OrderLine", "tax_rate") => self.line.tax_rate = number,
            ("OrderLine", "total_tax_amount") => self.line.total_tax_amount = number,
            ("CaptureRequest" | "RefundRequest", "reference") => {
                self.reference = serde_json::from_slice(written).unwrap_or_default();
            }
            (_, "captured_amount" | "refunded_amount" | "order_amount")
                if object == self.request && field == self.field =>
            {
                self.amount = value;
            }
            _ => {}
        }
    }

    #[inline(always)]
    fn ended(&mut self, object: &'static str) {
        if object == "OrderLine" {
            self.sums.add(&std::mem::take(&mut self.line));
        }
    }
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
