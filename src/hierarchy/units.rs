//! Durations (`90s`, `1h30m`) and sizes (`120MB`, `1GiB`), as people write them.

use std::time::Duration;

/// A sum of whole numbers with units.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration, such as `90s`, `10m` or `1h30m`");
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let (unit, length) =
            [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
                .into_iter()
                .find_map(|(unit, milliseconds)| {
                    rest.starts_with(unit).then_some((unit, milliseconds))
                })
                .ok_or_else(wrong)?;
        let part = number.checked_mul(length).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[unit.len()..];
    }
    match (total.is_zero(), text) {
        (true, "") => Err(wrong()),
        (true, _) => Err(format!("`{text}` is too short: at least `1ms` is needed")),
        (false, _) => Ok(total),
    }
}

/// Bytes. `MB` is a million, `MiB` is 1024 × 1024, and a number alone is bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size, such as `120MB`, `1.5GiB` or `4096`");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..split], text[split..].trim());
    let factor: u128 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "tb" | "t" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 {
        return Err(wrong());
    }
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
    let bytes = digits.checked_mul(factor).ok_or_else(wrong)? / scale;
    match u64::try_from(bytes) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(wrong()),
    }
}

/// As people read it: `118 MB`, in decimal units as `docker images` gives it.
pub fn bytes(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "two or three digits are shown")]
    let mut value = bytes as f64 / 1000.0;
    let mut units = ["kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut unit = units.next();
    while value >= 999.5 {
        value /= 1000.0;
        unit = units.next();
    }
    let digits = usize::from(value < 9.95);
    format!("{value:.digits$} {}", unit.unwrap_or("EB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("90s", Some(90.0)),
            ("10m", Some(600.0)),
            ("1h30m", Some(5400.0)),
            ("1d", Some(86400.0)),
            ("500ms", Some(0.5)),
            ("90", None),
            ("", None),
            ("0s", None),
            ("s", None),
            ("1.5h", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration(text).ok().map(|d| d.as_secs_f64()), seconds, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("120MB", Some(120_000_000)),
            ("1GiB", Some(1 << 30)),
            ("1.5 GiB", Some(3 << 29)),
            ("4096", Some(4096)),
            ("10kB", Some(10_000)),
            ("0", None),
            ("MB", None),
            ("1.MB", Some(1_000_000)),
            ("1..2MB", None),
            ("12 parsecs", None),
            ("99999999999999999999999999TB", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text}");
        }
    }
}
