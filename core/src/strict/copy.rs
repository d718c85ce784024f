//! Objects that are read, checked and written in one walk: a call needs its request as bytes, and of the values only the
//! few that somebody watches.

use crate::text::needs_no_escape;

/// Watches the values of objects that are copied.
pub(crate) trait Watch {
    /// A field was written. `number` is its value if it is a whole number, `written` its JSON.
    fn saw(&mut self, object: &'static str, field: &'static str, number: Option<i64>, written: &[u8]);

    /// All fields of an object were written.
    fn ended(&mut self, object: &'static str);
}

/// The JSON that is written, compact and in the declared order of fields, whatever the order of the source.
pub(crate) struct Sink<W> {
    pub(super) bytes: Vec<u8>,
    /// Room for an object whose fields have to be put in order.
    sorted: Vec<u8>,
    pub watch: W,
}

/// An object of `N` fields that is being written: the pieces `,"name":value` that are there.
pub(crate) struct Open<const N: usize> {
    start: usize,
    /// A bit for each field that was written.
    seen: u64,
    is_sorted: bool,
    pieces: [(usize, usize); N],
}

impl<const N: usize> Open<N> {
    #[inline]
    pub fn has(&self, index: usize) -> bool {
        self.seen >> index & 1 == 1
    }
}

impl<W: Watch> Sink<W> {
    /// An empty one with room for `expected` bytes.
    pub fn new(expected: usize, watch: W) -> Sink<W> {
        Sink { bytes: Vec::with_capacity(expected), sorted: Vec::new(), watch }
    }

    pub fn into_parts(self) -> (Vec<u8>, W) {
        (self.bytes, self.watch)
    }

    #[inline]
    pub fn open<const N: usize>(&self) -> Open<N> {
        const { assert!(N <= 64, "an object has at most as many fields as `seen` has bits") };
        Open { start: self.bytes.len(), seen: 0, is_sorted: true, pieces: [(0, 0); N] }
    }

    /// Begins a field: `name` is `,"name":`.
    #[inline]
    pub fn name<const N: usize>(&mut self, object: &mut Open<N>, index: usize, name: &'static str) {
        object.is_sorted &= object.seen >> index == 0;
        object.pieces[index].0 = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
    }

    /// Ends a field, of which `name` was written.
    #[inline]
    pub fn value<const N: usize>(
        &mut self,
        object: &mut Open<N>,
        index: usize,
        (noun, field, name): (&'static str, &'static str, &'static str),
        number: Option<i64>,
    ) {
        object.seen |= 1 << index;
        object.pieces[index].1 = self.bytes.len();
        self.watch.saw(noun, field, number, &self.bytes[object.pieces[index].0 + name.len()..]);
    }

    #[inline]
    pub fn close<const N: usize>(&mut self, object: &Open<N>, noun: &'static str) {
        if !object.is_sorted {
            self.sort(object.start, object.seen, &object.pieces);
        }
        match object.seen {
            0 => self.bytes.push(b'{'),
            // The first piece begins with a comma.
            _ => self.bytes[object.start] = b'{',
        }
        self.bytes.push(b'}');
        self.watch.ended(noun);
    }

    #[inline(never)]
    fn sort(&mut self, start: usize, seen: u64, pieces: &[(usize, usize)]) {
        self.sorted.clear();
        for (index, &(from, to)) in pieces.iter().enumerate() {
            if seen >> index & 1 == 1 {
                self.sorted.extend_from_slice(&self.bytes[from..to]);
            }
        }
        self.bytes[start..].copy_from_slice(&self.sorted);
    }

    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn shorten(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    #[inline]
    pub(super) fn integer(&mut self, value: i64) {
        self.bytes.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    #[inline]
    pub(super) fn text(&mut self, text: &str) {
        if needs_no_escape(text) {
            self.bytes.reserve(text.len() + 2);
            self.bytes.push(b'"');
            self.bytes.extend_from_slice(text.as_bytes());
            self.bytes.push(b'"');
        } else {
            serde_json::to_writer(&mut self.bytes, text).expect("a text can be written");
        }
    }
}
