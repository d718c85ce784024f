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
    // A text that grows would leave copies behind that nobody wipes.
    let mut clean = String::with_capacity(text.len());
    let shown = text.chars().filter(|c| !is_invisible(*c));
    clean.extend(shown.map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c }));
    clean
}

/// Whether a text has printable ASCII characters alone, and no blank at an end. Most texts are of this kind.
#[inline]
pub(crate) fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    // A fold is several times as fast as a search that may end early.
    let is_printable = bytes.iter().fold(true, |printable, byte| printable & matches!(byte, b' '..=b'~'));
    is_printable && bytes.first() != Some(&b' ') && bytes.last() != Some(&b' ')
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
