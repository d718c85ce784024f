//! Characters of a text that nobody sees, or nobody means.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Whether a character is shown as nothing, or changes how the text around it is shown: directions, joiners, tags,
/// fillers, variants.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The byte order mark, which Windows tools put before a file.
const MARK: &str = "\u{feff}";

/// A text of a file without its byte order mark.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// The bytes of a file without their byte order mark.
pub(crate) fn bytes_without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK.as_bytes()).unwrap_or(bytes)
}

/// A text as one line without characters that steer how it is shown.
pub(crate) fn visible(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    // A text that grows would leave copies behind that nobody wipes.
    let mut clean = String::with_capacity(text.len());
    let shown = text.chars().filter(|c| !is_invisible(*c));
    clean.extend(shown.map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }));
    clean
}

/// Eight times a byte.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The highest bit of each byte of `x` that is less than `limit`, which is at most 128. Bits above the lowest one that is
/// right may be wrong.
#[inline]
const fn less(x: u64, limit: u8) -> u64 {
    x.wrapping_sub(eight(limit)) & !x & eight(0x80)
}

/// The same of each byte that JSON does not write as it is.
#[inline]
const fn special(x: u64) -> u64 {
    less(x, b' ') | less(x ^ eight(b'"'), 1) | less(x ^ eight(b'\\'), 1)
}

/// The same of each byte that is no printable ASCII character.
#[inline]
const fn unprintable(x: u64) -> u64 {
    less(x, b' ') | ((x | x.wrapping_add(eight(1))) & eight(0x80))
}

/// Whether `found` finds nothing in any eight bytes of a text, nor in the rest filled up with a letter.
#[inline]
fn is_without(found: impl Fn(u64) -> u64, bytes: &[u8]) -> bool {
    let mut all = 0;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        all |= found(u64::from_le_bytes(*chunk));
    }
    match bytes.last_chunk::<8>() {
        Some(last) => all |= found(u64::from_le_bytes(*last)),
        None => {
            let filled = rest.iter().fold(eight(b'a'), |filled, byte| filled << 8 | u64::from(*byte));
            all |= found(filled);
        }
    }
    all == 0
}

/// Whether a text has printable ASCII characters alone, and no blank at an end. Most texts are of this kind.
#[inline]
pub(crate) fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    is_without(unprintable, bytes) && bytes.first() != Some(&b' ') && bytes.last() != Some(&b' ')
}

/// Whether a text stands in JSON as it is.
#[inline]
pub(crate) fn needs_no_escape(text: &str) -> bool {
    is_without(special, text.as_bytes())
}

/// The number of bytes before the first one that is no printable ASCII character, or that JSON does not write as it is.
#[inline(always)]
pub(crate) fn until_unusual(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let x = u64::from_le_bytes(*chunk);
        match special(x) | unprintable(x) {
            0 => at += 8,
            found => return at + found.trailing_zeros() as usize / 8,
        }
    }
    let rest = bytes[at..].iter().position(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\'));
    rest.map_or(bytes.len(), |rest| at + rest)
}

/// The thing in a text that nobody means, if the text is to identify something: "holds U+200B at position 37". Copying
/// adds such characters, and two people who write one name would mean two.
pub(crate) fn oddity(text: &str) -> Option<String> {
    if is_plain(text) {
        return None;
    }
    if let Some(found) = strange(text) {
        return Some(found);
    }
    if text.starts_with(' ') {
        return Some("begins with a blank".to_owned());
    }
    if text.ends_with(' ') {
        return Some("ends with a blank".to_owned());
    }
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(text);
    let mut pairs = text.chars().zip(composed.chars().map(Some).chain(std::iter::repeat(None))).enumerate();
    let (index, (_, other)) = pairs.find(|&(_, (own, other))| other != Some(own))?;
    let usual = other.map(|usual| format!(" instead of U+{:04X}", usual as u32)).unwrap_or_default();
    Some(format!("{}{usual}, which looks the same", holds(text, index)))
}

/// The first character that a text which identifies something, or proves it, never has.
pub(crate) fn strange(text: &str) -> Option<String> {
    let is_strange = |c: char| {
        c.is_control() || is_invisible(c) || (c.is_whitespace() && c != ' ') || c == char::REPLACEMENT_CHARACTER
    };
    let index = text.chars().position(is_strange)?;
    Some(holds(text, index))
}

/// Names a character by its code point, since it may be one that nobody sees. Positions count characters from 1.
pub(crate) fn holds(text: &str, index: usize) -> String {
    let code = text.chars().nth(index).map_or(0, u32::from);
    format!("holds U+{code:04X} at position {}", index + 1)
}

/// A set of ASCII characters, which a byte is looked up in.
pub(crate) struct Bytes([bool; 256]);

impl Bytes {
    /// Letters, digits, and these.
    pub const fn alphanumeric_or(others: &[u8]) -> Bytes {
        let mut set = [false; 256];
        let mut byte = 0_u8;
        while byte < 128 {
            set[byte as usize] = byte.is_ascii_alphanumeric();
            byte += 1;
        }
        let mut index = 0;
        while index < others.len() {
            set[others[index] as usize] = true;
            index += 1;
        }
        Bytes(set)
    }

    /// All that are printed, without these.
    pub const fn graphic_without(others: &[u8]) -> Bytes {
        let mut set = [false; 256];
        let mut byte = b'!';
        while byte <= b'~' {
            set[byte as usize] = true;
            byte += 1;
        }
        let mut index = 0;
        while index < others.len() {
            set[others[index] as usize] = false;
            index += 1;
        }
        Bytes(set)
    }

    pub fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    /// Whether all bytes of a text are in the set.
    pub fn have(&self, text: &[u8]) -> bool {
        text.iter().all(|byte| self.has(*byte))
    }
}

/// A time as ISO 8601 writes it, with a zone, in seconds since 1970; fractions of a second are left out.
pub(crate) fn seconds_since_1970(text: &str) -> Option<i64> {
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<i64>().ok()).flatten();
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let mut parts = clock.split('.').next()?.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let digits: String = zone[1..].chars().filter(|c| *c != ':').collect();
            let digits = if digits.len() == 2 { digits + "00" } else { digits };
            let (hours, minutes) = (number(digits.get(..2)?)?, number(digits.get(2..4)?)?);
            (hours * 60 + minutes) * if zone.starts_with('-') { -60 } else { 60 }
        }
    };
    if !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 24
        || minute > 59
    {
        return None;
    }
    // Years begin in March, so that a leap day is the last day of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_texts_say_where_they_are_odd() {
        for (text, odd) in [
            ("f3392f8b-6116-4073-ab96-e330819e2c07\u{200b}", "holds U+200B at position 37"),
            ("\u{feff}a", "holds U+FEFF at position 1"),
            ("a\u{a0}b", "holds U+00A0 at position 2"),
            ("ab\u{3000}", "holds U+3000 at position 3"),
            ("a\nb", "holds U+000A at position 2"),
            ("caf\u{fffd}", "holds U+FFFD at position 4"),
            (" a", "begins with a blank"),
            ("a ", "ends with a blank"),
            ("cafe\u{301}", "holds U+0065 at position 4 instead of U+00E9, which looks the same"),
            ("5 \u{212a}", "holds U+212A at position 3 instead of U+004B, which looks the same"),
        ] {
            assert_eq!(oddity(text).as_deref(), Some(odd), "{text:?}");
        }
    }

    #[test]
    fn usual_texts_are_not_odd() {
        for text in ["", "parcel-1", "a b", "Bestellung №5", "caf\u{e9}", "пакет 1", "包裹１", "हिन्दी"]
        {
            assert_eq!(oddity(text), None, "{text:?}");
        }
    }
}
