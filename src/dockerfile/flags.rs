//! `--name=value` in front of an instruction's arguments, and the fields of `--mount=`.
//!
//! **Invariant:** every byte of a value knows where it stands in the line, so that it can be
//! replaced there, inside its quotes if it has any.

use std::ops::Range;

/// A piece of text that lost quotes and escapes, with the place of every byte.
#[derive(Clone, Debug, Default)]
pub(super) struct Placed {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Flags<'t> {
    flags: Vec<Placed>,
    /// What follows the flags.
    pub(super) rest: &'t str,
}

impl Placed {
    fn push(&mut self, byte: u8, place: usize) {
        self.bytes.push(byte);
        self.places.push(place);
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// In the line, from the first byte to the last.
    pub(super) fn span(&self) -> Range<usize> {
        match (self.places.first(), self.places.last()) {
            (Some(&first), Some(&last)) => first..last + 1,
            _ => 0..0,
        }
    }

    pub(super) fn shifted(mut self, by: usize) -> Self {
        self.places.iter_mut().for_each(|place| *place += by);
        self
    }

    fn split_at(&self, separator: u8) -> Option<(Self, Self)> {
        let at = self.bytes.iter().position(|&b| b == separator)?;
        Some((self.part(0..at), self.part(at + 1..self.bytes.len())))
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self { bytes: self.bytes[range.clone()].to_vec(), places: self.places[range].to_vec() }
    }

    /// The fields of a comma-separated list in which `"` quotes and `""` is a quote.
    fn fields(&self) -> Vec<Self> {
        let (mut fields, mut field, mut quoted) = (Vec::new(), Self::default(), false);
        let mut at = 0;
        while let Some(&byte) = self.bytes.get(at) {
            match byte {
                b'"' if quoted && self.bytes.get(at + 1) == Some(&b'"') => {
                    at += 1;
                    field.push(byte, self.places[at]);
                }
                b'"' if quoted || field.bytes.is_empty() => quoted = !quoted,
                b',' if !quoted => fields.push(std::mem::take(&mut field)),
                _ => field.push(byte, self.places[at]),
            }
            at += 1;
        }
        fields.push(field);
        fields
    }
}

impl Flags<'_> {
    /// The first `--name` of each flag that is not one of these.
    pub(super) fn unknown<'a>(&'a self, known: &'a [&str]) -> impl Iterator<Item = Placed> + 'a {
        let names = self.flags.iter().map(|flag| match flag.split_at(b'=') {
            Some((name, _)) => name,
            None => flag.clone(),
        });
        names.filter(move |name| known.iter().all(|known| name.bytes[2..] != *known.as_bytes()))
    }

    /// The values of `--name=…`.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Placed> + 'a {
        self.flags.iter().filter_map(move |flag| {
            let (key, value) = flag.split_at(b'=')?;
            (key.bytes.strip_prefix(b"--") == Some(name.as_bytes())).then_some(value)
        })
    }

    /// The `from=` of every `--mount=`; the last one of each, as the builder takes it.
    pub(super) fn mounts_from(&self) -> Vec<Placed> {
        let from = |mount: Placed| {
            let fields = mount.fields();
            let last = |name: &[u8]| {
                fields.iter().rev().find_map(|field| {
                    let (key, value) = field.split_at(b'=')?;
                    key.bytes.eq_ignore_ascii_case(name).then_some(value)
                })
            };
            // A tmpfs begins empty, whatever it is said to be from.
            let is_empty =
                last(b"type").is_some_and(|kind| kind.bytes.eq_ignore_ascii_case(b"tmpfs"));
            if is_empty { None } else { last(b"from") }
        };
        self.values("mount").filter_map(from).collect()
    }
}

/// Takes the flags off the arguments of an instruction.
pub(super) fn read(arguments: &str) -> Flags<'_> {
    let bytes = arguments.as_bytes();
    let (mut flags, mut at) = (Vec::new(), 0);
    loop {
        at += bytes[at..].iter().take_while(|b| is_space(**b)).count();
        if !bytes[at..].starts_with(b"--") {
            return Flags { flags, rest: &arguments[at..] };
        }
        let mut flag = Placed::default();
        let mut quote = None;
        while let Some(&byte) = bytes.get(at) {
            match (byte, quote) {
                (_, Some(open)) if byte == open => quote = None,
                (b'\'' | b'"', None) => quote = Some(byte),
                (b'\\', _) => {
                    at += 1;
                    if let Some(&escaped) = bytes.get(at) {
                        flag.push(escaped, at);
                    }
                }
                (_, None) if is_space(byte) => break,
                _ => flag.push(byte, at),
            }
            at += 1;
        }
        // Escaping the last byte goes one too far.
        at = at.min(bytes.len());
        if flag.bytes == b"--" {
            return Flags { flags, rest: arguments.get(at..).unwrap_or_default() };
        }
        flags.push(flag);
    }
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}
