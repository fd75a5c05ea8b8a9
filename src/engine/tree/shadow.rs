//! `/etc/shadow` says on which day each password was changed, and creating a user writes today's date.
//! Leaving the file out would hide a password; so it is read without those days.

pub(super) const PATH: &[u8] = b"etc/shadow";
/// In bytes. One longer than this has millions of users, and is compared as it is.
pub(super) const LONGEST: u64 = 1 << 20;

/// The day is the third of nine fields (`man 5 shadow`). 0 stays: it makes its user change the
/// password.
pub(super) fn without_days(text: &[u8]) -> Vec<u8> {
    let is_day = |field: &[u8]| {
        field.iter().all(u8::is_ascii_digit) && field.iter().any(|digit| *digit != b'0')
    };
    let line = |line: &[u8]| {
        let mut fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        if fields.len() == 9 && is_day(fields[2]) {
            fields[2] = b"day";
        }
        fields.join(&b':')
    };
    text.split(|byte| *byte == b'\n').map(line).collect::<Vec<_>>().join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_day_is_left_aside() {
        for (one, other, same) in [
            ("www:!:19518:0:99999:7:::\n", "www:!:20780:0:99999:7:::\n", true),
            ("a:*:1:::::::\nb:*:2::::::\n", "a:*:1:::::::\nb:*:3::::::\n", true),
            ("www:!:19518:0:99999:7:::\n", "www:$y$j9T:19518:0:99999:7:::\n", false),
            ("www:!:19518:0:99999:7:::\n", "www:!:0:0:99999:7:::\n", false),
            ("www:!:19518:0:99999:7:::\n", "www:!::0:99999:7:::\n", false),
            ("www:!:19518:0:99999:7:::\n", "www:!:19518:0:99:7:::\n", false),
            ("www:!:19518:0:99999:7:::\n", "www:!:19518:0:99999:7:::", false),
            ("not:a:1\n", "not:a:2\n", false),
        ] {
            let (one_read, other_read) =
                (without_days(one.as_bytes()), without_days(other.as_bytes()));
            assert_eq!(one_read == other_read, same, "{one:?}, {other:?}");
        }
    }
}
