//! The words of the program: results on standard output, all else on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

/// The end of a command that did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    /// A line or more for a person; empty if nobody listens.
    pub message: String,
    /// The same for programs, where there is more to say than the message.
    pub json: Option<Value>,
}

/// How a command ended: a code for the shell.
pub type Ended = Result<Exit, Failure>;

/// The codes of the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done: 0.
    Done,
    /// The command did nothing: 1.
    Nothing,
    /// Something was refused, or needs a person: 2.
    Person,
    /// Something is not known yet: 3.
    Open,
    /// A code of another convention.
    Code(u8),
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Nothing => 1,
            Exit::Person => 2,
            Exit::Open => 3,
            Exit::Code(code) => code,
        }
    }
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), json: None }
    }

    /// Says it: with `--json` also on standard output.
    pub fn tell(self, is_json: bool) {
        if self.message.is_empty() {
            return;
        }
        if is_json {
            // Nobody may listen.
            let _ = result(self.json.unwrap_or_else(|| json!({"error": self.message})));
        }
        note(format!("takings: {}", self.message));
    }
}

impl From<takings_ledger::store::Error> for Failure {
    fn from(error: takings_ledger::store::Error) -> Failure {
        Failure::new(error.message)
    }
}

impl From<takings::Error> for Failure {
    fn from(error: takings::Error) -> Failure {
        Failure::new(error.message())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            // The reader of a pipe has gone; it wants nothing more.
            io::ErrorKind::BrokenPipe => Failure::new(""),
            _ => Failure::new(error.to_string()),
        }
    }
}

/// Writes a result, with a line end.
pub fn result(text: impl Display) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}")?;
    Ok(output.flush()?)
}

/// Writes the result of a command that has little to say: for programs as JSON, else as a note.
pub fn done(is_json: bool, json: &Value, text: impl Display) -> Ended {
    match is_json {
        true => result(json)?,
        false => note(text),
    }
    Ok(Exit::Done)
}

/// Writes a note for the person at the terminal, or for a log. Nobody has to listen.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Asks the person at the terminal.
///
/// # Errors
///
/// There is none, or the answer is no.
pub fn ask(question: &str, otherwise: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::new(format!("nobody is there to say yes; give --yes\n{otherwise}")));
    }
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(otherwise)),
    }
}

/// A text for a cell of a table. A spreadsheet would take some for formulas.
pub fn guarded(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

/// A whole number with separators: 1,234,567.
pub fn number(number: impl Display) -> String {
    let text = number.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    format!("{sign}{out}")
}

/// A count with its noun: `1 capture`, `2,000 captures`.
pub fn many(count: impl Display, noun: &str) -> String {
    let count = number(count);
    let ending = if count == "1" { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// A moment in milliseconds since 1970, in UTC: `2026-11-30T09:12:05Z`.
pub fn moment(at: i64) -> String {
    let seconds = at.div_euclid(1000);
    let (day, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days to a date, by Howard Hinnant's algorithm (howardhinnant.github.io/date_algorithms.html).
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// A time in words: `6 h 10 min`.
pub fn span(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A reason of the tables, in words.
pub fn why(word: &str) -> &str {
    match word {
        "refused" => "Klarna refused it",
        "refused_after_unclear" => {
            "Klarna refused it, and a look did not find it; an earlier request may have been carried out"
        }
        "several" => "the order shows its reference and amount several times",
        "amount_differs" => "the order shows its reference with another amount",
        "look_refused" => "Klarna does not show the order",
        "unclear" => "no answer from Klarna that says what became of it",
        "given_up" => "no clear answer after ten tries; nobody asks again",
        "invalid" => "it is no request that takings would send",
        "another_id" => "Klarna answered with two different ids",
        "internal" => "takings failed inside",
        "credentials" => "Klarna answers 401 to the credentials; nothing was booked as refused",
        "not_klarna" => "the address answers, and not as Klarna's API",
        "limited" => "Klarna asked for fewer requests",
        "no_answer" => "nobody answers",
        "clock" => "the clock of the ledger and that of the worker differ, or a clock went back",
        "person" => "a person paused it",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_in_words() {
        assert_eq!((number(0), number(999), number(-1000), number(1_234_567)).3, "1,234,567");
        assert_eq!((number(999), number(-1000)), ("999".into(), "-1,000".into()));
        assert_eq!((many(1, "row"), many(0, "row"), many(2000, "row")).0, "1 row");
        assert_eq!((many(0, "row"), many(2000, "row")), ("0 rows".into(), "2,000 rows".into()));
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(moment(1_796_031_125_999), "2026-11-30T09:32:05Z");
        assert_eq!(moment(-1), "1969-12-31T23:59:59Z");
        assert_eq!((span(59_999), span(600_000), span(22_200_000)).2, "6 h 10 min");
        assert_eq!((span(90_000_000), span(172_800_000)), ("1 d 1 h".into(), "2 d".into()));
    }

    #[test]
    fn every_reason_has_words() {
        for reason in takings_ledger::policy::Why::ALL {
            assert_ne!(why(reason.as_str()), reason.as_str());
        }
    }
}
