//! The sandbox's times, and how Klarna writes them.

/// Milliseconds since 1970.
pub(crate) type Millis = i64;

pub(crate) const DAY: Millis = 86_400_000;
/// The end of year 9999, the last that four digits write.
pub(super) const LAST: Millis = 253_402_300_799_999;

/// Year, month and day of a time in UTC.
pub(crate) fn date(millis: Millis) -> (i64, i64, i64) {
    // Counted in years that begin in March, so that the leap day comes last; 719,468 days lie between
    // 1 March of year 0 and 1970.
    let days = millis.div_euclid(DAY) + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next, month, day)
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn timestamp(millis: Millis) -> String {
    let (year, month, day) = date(millis);
    let rest = millis.rem_euclid(DAY);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The form of HTTP's `Date`.
pub(crate) fn http_date(millis: Millis) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day) = date(millis);
    let name = |names: &[&'static str], at: i64| usize::try_from(at).ok().and_then(|at| names.get(at).copied());
    let weekday = name(&DAYS, millis.div_euclid(DAY).rem_euclid(7)).unwrap_or_default();
    let month = name(&MONTHS, month - 1).unwrap_or_default();
    let rest = millis.rem_euclid(DAY);
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}
