//! Text in pictures.

use super::width::width;

/// The width of a letter in the font of pictures, in tenths of a pixel: 0.6 of 12 pixels in all usual fonts of
/// fixed width.
const LETTER: usize = 73;

/// The width of a text in pixels.
pub(super) fn text_width(text: &str) -> i32 {
    i32::try_from((width(text) * LETTER).div_ceil(10)).unwrap_or(i32::MAX / 1000)
}

/// How many letters fit into this width in pixels.
pub(super) fn letters(pixels: i32) -> usize {
    usize::try_from(pixels).unwrap_or(0) * 10 / LETTER
}

/// As text of an element or of an attribute. What XML cannot have was made visible before.
pub(super) fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
