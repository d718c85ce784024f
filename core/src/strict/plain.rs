//! JSON text as programs usually write it, checked and written in one walk that knows no other source. Texts, whole
//! numbers, lists and objects that keep their rules pass. Anything else ends the walk with nothing: the text is then read
//! by serde_json, and a refusal is worded there.

use super::copy::Watch;
use crate::text::until_unusual;

/// The walk over a text: where it is, and the JSON that it has written.
pub(crate) struct Plain<'a> {
    text: &'a str,
    at: usize,
    out: Vec<u8>,
}

/// The bytes of a value, in the text or, if it had to be written anew, in the output.
#[derive(Clone, Copy, Default)]
pub(crate) struct Piece {
    from: usize,
    to: usize,
    is_written: bool,
}

/// A name in quotes, and its first eight bytes as a number.
pub(crate) struct Name {
    text: &'static str,
    first: u64,
    mask: u64,
}

impl Name {
    pub const fn new(text: &'static str) -> Name {
        let bytes = text.as_bytes();
        let (mut first, mut mask, mut index) = (0_u64, 0_u64, 0);
        while index < bytes.len() && index < 8 {
            first |= (bytes[index] as u64) << (8 * index);
            mask |= 0xff << (8 * index);
            index += 1;
        }
        Name { text, first, mask }
    }
}

/// The next key of an object.
pub(crate) enum Key<'a> {
    End,
    Known(usize),
    Other(&'a str),
}

/// An object of `N` fields that is being read.
pub(crate) struct Reading<const N: usize> {
    /// Where the object begins in the text, and what it writes in the output.
    from: usize,
    base: usize,
    /// The field that is expected next.
    next: usize,
    /// A bit for each field that was read.
    seen: u64,
    is_first: bool,
    is_sorted: bool,
    /// The length that the object has in JSON without blanks.
    length: usize,
    pieces: [Piece; N],
}

impl<const N: usize> Reading<N> {
    #[inline]
    pub fn has(&self, index: usize) -> bool {
        self.seen >> index & 1 == 1
    }

    /// Notes a key that is no field.
    pub fn passed(&mut self) {
        self.is_sorted = false;
        self.is_first = false;
    }

    /// Notes a field that was read. A field that is there twice is not plain.
    #[inline(always)]
    pub fn put(&mut self, index: usize, name: &Name, piece: Piece) -> Option<()> {
        if self.has(index) {
            return None;
        }
        self.is_sorted &= self.seen >> index == 0 && !piece.is_written;
        self.seen |= 1 << index;
        self.is_first = false;
        self.next = index + 1;
        self.length += name.text.len() + piece.to - piece.from + 2;
        self.pieces[index] = piece;
        Some(())
    }
}

/// More digits may not fit into 64 bits.
const MOST_DIGITS: usize = 18;

impl<'a> Plain<'a> {
    pub fn new(text: &'a str) -> Plain<'a> {
        Plain { text, at: 0, out: Vec::new() }
    }

    /// The JSON of the whole, if only blanks are left of the text.
    pub fn end(mut self, whole: Piece) -> Option<Vec<u8>> {
        if self.next().is_some() {
            return None;
        }
        if !whole.is_written {
            self.append(whole);
        }
        Some(self.out)
    }

    #[inline(always)]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no blank.
    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        match self.byte() {
            Some(b' ' | b'\n' | b'\r' | b'\t') => self.next_after_blanks(),
            byte => byte,
        }
    }

    fn next_after_blanks(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    #[inline(always)]
    fn skip(&mut self, wanted: u8) -> Option<()> {
        if self.next() != Some(wanted) {
            return None;
        }
        self.at += 1;
        Some(())
    }

    /// Whether a list or an object goes on with another part.
    #[inline(always)]
    fn goes_on(&mut self, closing: u8, is_first: bool) -> Option<bool> {
        match self.next()? {
            byte if byte == closing => {
                self.at += 1;
                Some(false)
            }
            b',' if !is_first => {
                self.at += 1;
                Some(true)
            }
            _ => is_first.then_some(true),
        }
    }

    #[inline(always)]
    pub fn bytes(&self, piece: Piece) -> &[u8] {
        let whole = if piece.is_written { &self.out[..] } else { self.text.as_bytes() };
        whole.get(piece.from..piece.to).unwrap_or_default()
    }

    /// Begins an object that may stand in the text as it would be written: gives its place.
    #[inline(always)]
    pub fn begin(&mut self) -> Option<usize> {
        self.skip(b'{')?;
        Some(self.at - 1)
    }

    /// Takes a name with its colon, if it is next. The length is known to the compiler, which then compares few words.
    #[inline(always)]
    pub fn takes<const N: usize>(&mut self, name: &'static [u8; N]) -> bool {
        let is_next = self.text.as_bytes().get(self.at..).and_then(<[u8]>::first_chunk) == Some(name);
        if is_next {
            self.at += N;
        }
        is_next
    }

    /// After a value whose name ended at `from`: whether another name or the end of the object follows without a blank.
    #[inline(always)]
    pub fn follows(&mut self, from: usize, value: Piece) -> Option<bool> {
        if value.is_written || value.from != from {
            return None;
        }
        let byte = self.byte();
        self.at += 1;
        match byte {
            Some(b',') => Some(true),
            Some(b'}') => Some(false),
            _ => None,
        }
    }

    /// The place in the text.
    #[inline(always)]
    pub fn place(&self) -> usize {
        self.at
    }

    /// The object from `from` up to here, as it stands in the text.
    #[inline(always)]
    pub fn since(&self, from: usize) -> Piece {
        Piece { from, to: self.at, is_written: false }
    }

    /// Goes back to a place in the text, and forgets what was written since.
    pub fn back(&mut self, at: usize, written: usize) {
        self.at = at;
        self.out.truncate(written);
    }

    /// The length of the output.
    #[inline(always)]
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Begins an object.
    #[inline(always)]
    pub fn open<const N: usize>(&mut self) -> Option<Reading<N>> {
        const { assert!(N <= 64, "an object has at most as many fields as `seen` has bits") };
        self.skip(b'{')?;
        Some(Reading {
            from: self.at - 1,
            base: self.out.len(),
            next: 0,
            seen: 0,
            is_first: true,
            is_sorted: true,
            length: 0,
            pieces: [Piece::default(); N],
        })
    }

    /// The next key, with the colon behind it.
    #[inline(always)]
    pub fn key<const N: usize>(&mut self, names: &'static [Name; N], object: &Reading<N>) -> Option<Key<'a>> {
        if !self.goes_on(b'}', object.is_first)? {
            return Some(Key::End);
        }
        self.next()?;
        let rest = &self.text.as_bytes()[self.at..];
        if let Some(first) = rest.first_chunk::<8>() {
            let first = u64::from_le_bytes(*first);
            let is_it = |name: &Name| {
                let length = name.text.len();
                first & name.mask == name.first
                    && (length <= 8 || rest.len() >= length && rest[8..length] == name.text.as_bytes()[8..])
            };
            // Most sources give the fields in the declared order.
            let later = (object.next..N).find(|&index| is_it(&names[index]));
            if let Some(index) = later.or_else(|| (0..object.next).find(|&index| is_it(&names[index]))) {
                self.at += names[index].text.len();
                self.skip(b':')?;
                return Some(Key::Known(index));
            }
        }
        let (from, to) = self.string()?;
        self.skip(b':')?;
        Some(Key::Other(&self.text[from..to]))
    }

    /// Ends an object. One that stands in the text as it would be written is not written.
    #[inline(always)]
    pub fn close<const N: usize>(&mut self, names: &'static [Name; N], object: &Reading<N>) -> Piece {
        // Each field has a colon, and a comma or the opening bracket.
        if object.is_sorted && object.length + 1 == self.at - object.from {
            return Piece { from: object.from, to: self.at, is_written: false };
        }
        let mark = self.out.len();
        self.write(names, object.seen, &object.pieces);
        self.out.drain(object.base..mark);
        Piece { from: object.base, to: self.out.len(), is_written: true }
    }

    #[inline(never)]
    fn write(&mut self, names: &'static [Name], seen: u64, pieces: &[Piece]) {
        let mut before = b'{';
        for (index, piece) in pieces.iter().enumerate() {
            if seen >> index & 1 == 0 {
                continue;
            }
            self.out.push(before);
            before = b',';
            self.out.extend_from_slice(names[index].text.as_bytes());
            self.out.push(b':');
            self.append(*piece);
        }
        if before == b'{' {
            self.out.push(before);
        }
        self.out.push(b'}');
    }

    fn append(&mut self, piece: Piece) {
        match piece.is_written {
            true => self.out.extend_from_within(piece.from..piece.to),
            false => self.out.extend_from_slice(&self.text.as_bytes()[piece.from..piece.to]),
        }
    }

    /// Reads a list of at most `most` items. It is not written as long as it stands in the text as it would be written.
    #[inline]
    pub(super) fn list(&mut self, most: usize, mut item: impl FnMut(&mut Self) -> Option<Piece>) -> Option<Piece> {
        self.skip(b'[')?;
        let (from, base) = (self.at - 1, self.out.len());
        let (mut count, mut end, mut is_written) = (0, self.at, false);
        while self.goes_on(b']', count == 0)? {
            if count == most {
                return None;
            }
            let piece = item(self)?;
            // Each item but the first has a comma before it.
            let is_next = !piece.is_written && piece.from == end + usize::from(count > 0);
            if !is_written && is_next {
                end = piece.to;
            } else {
                let begun = is_written;
                is_written = true;
                self.add(piece, (!begun).then_some((from, end)), count > 0);
            }
            count += 1;
        }
        if !is_written && self.at == end + 1 {
            return Some(Piece { from, to: self.at, is_written });
        }
        if !is_written {
            self.append(Piece { from, to: end, is_written });
        }
        self.out.push(b']');
        Some(Piece { from: base, to: self.out.len(), is_written: true })
    }

    /// Adds an item to a list that is written, and before it the part of the list that is not written yet.
    #[inline(never)]
    fn add(&mut self, item: Piece, before: Option<(usize, usize)>, has_comma: bool) {
        let mark = self.out.len();
        if let Some((from, to)) = before {
            self.append(Piece { from, to, is_written: false });
        }
        if has_comma {
            self.out.push(b',');
        }
        self.append(item);
        if item.is_written {
            self.out.drain(item.from..mark);
        }
    }

    /// The place of a string of printable ASCII characters without escapes, without its quotes.
    #[inline(always)]
    fn string(&mut self) -> Option<(usize, usize)> {
        self.skip(b'"')?;
        let from = self.at;
        let to = from + until_unusual(&self.text.as_bytes()[from..]);
        self.at = to;
        (self.byte()? == b'"').then(|| {
            self.at += 1;
            (from, to)
        })
    }

    /// Reads a text that passes `check`, whose last argument tells that all of it is printable ASCII.
    #[inline(always)]
    pub fn text(&mut self, check: impl FnOnce(&str, bool) -> bool) -> Option<Piece> {
        if self.next()? != b'"' {
            return None;
        }
        let start = self.at;
        match self.string() {
            Some((from, to)) => {
                check(&self.text[from..to], true).then_some(Piece { from: from - 1, to: to + 1, is_written: false })
            }
            None => self.unusual(start, check),
        }
    }

    /// Reads the text whose opening quote is at `start`. The characters up to the place that was reached are usual ones.
    #[inline(never)]
    fn unusual(&mut self, start: usize, check: impl FnOnce(&str, bool) -> bool) -> Option<Piece> {
        let bytes = self.text.as_bytes();
        let mut has_escapes = false;
        loop {
            match bytes.get(self.at)? {
                b'"' if self.at > start => break,
                b'\\' => {
                    has_escapes = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let quoted = self.text.get(start..self.at)?;
        if !has_escapes {
            // A control character passes no check, as JSON has none in a text.
            let passes = check(&quoted[1..quoted.len() - 1], false);
            return passes.then_some(Piece { from: start, to: self.at, is_written: false });
        }
        let text: String = serde_json::from_str(quoted).ok()?;
        let from = self.out.len();
        serde_json::to_writer(&mut self.out, &text).ok()?;
        check(&text, false).then_some(Piece { from, to: self.out.len(), is_written: true })
    }

    #[inline(always)]
    pub(super) fn integer(&mut self) -> Option<(Piece, i64)> {
        let is_negative = self.next()? == b'-';
        let from = self.at;
        self.at += usize::from(is_negative);
        let (start, mut value) = (self.at, 0_i64);
        while let Some(digit @ b'0'..=b'9') = self.byte() {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - start;
        let has_leading_zero = self.text.as_bytes().get(start) == Some(&b'0') && (digits > 1 || is_negative);
        let goes_on = matches!(self.byte(), Some(b'.' | b'e' | b'E'));
        if !(1..=MOST_DIGITS).contains(&digits) || has_leading_zero || goes_on {
            return None;
        }
        let piece = Piece { from, to: self.at, is_written: false };
        Some((piece, if is_negative { -value } else { value }))
    }

    /// Reads a whole number, `true` or `false`, and gives its text.
    pub(super) fn short(&mut self) -> Option<&'a str> {
        self.next()?;
        let from = self.at;
        let word = ["true", "false"].into_iter().find(|word| self.text[from..].starts_with(word));
        match word {
            Some(word) => self.at += word.len(),
            None => drop(self.integer()?),
        }
        Some(&self.text[from..self.at])
    }
}

/// An object of the text.
pub(crate) trait Walk {
    /// Walks over it if it stands in the text as it would be written: in the declared order and without blanks. The outer
    /// nothing is a value that is not plain, the inner one an object that stands there otherwise.
    fn straight<W: Watch>(source: &mut Plain<'_>, watch: &mut W) -> Option<Option<Piece>>;

    /// Walks over it, whatever the order and the blanks. `other` takes the keys that are no fields.
    fn walk<W: Watch>(
        source: &mut Plain<'_>,
        watch: &mut W,
        other: impl FnMut(&mut Plain<'_>, &str) -> Option<()>,
    ) -> Option<Piece>;
}
