//! Content digests.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A content digest, such as `sha256:9f86d081…`. Always well formed.
///
/// It names a manifest in a registry, or an image in an engine (where it is called the image ID).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("a digest is `sha256:` and 64 hexadecimal digits, not `{0}`")]
    Malformed(String),
}

impl Digest {
    /// The digest of these bytes, as `sha256sum` computes it.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest that these are the bytes of.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity("sha256:".len() + 64);
        text.push_str("sha256:");
        for byte in bytes {
            _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The bytes that the digits stand for.
    pub fn bytes(&self) -> [u8; 32] {
        let digit =
            |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
        let digits = self.hex().as_bytes();
        std::array::from_fn(|n| digit(digits[2 * n]) << 4 | digit(digits[2 * n + 1]))
    }

    /// The 64 digits after `sha256:`.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The first twelve digits, as `docker images` shows them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Computes a [`Digest`] of bytes that come in pieces.
#[derive(Clone, Debug, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> Digest {
        Digest::from_bytes(&self.finish_bytes())
    }

    /// The bytes alone, where nobody reads them.
    pub fn finish_bytes(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// HMAC with SHA-256, RFC 2104.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let hash = |parts: [&[u8]; 2]| {
        let mut hasher = Hasher::default();
        for part in parts {
            hasher.update(part);
        }
        hasher.finish_bytes()
    };
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&hash([key, b""]));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = hash([&block.map(|byte| byte ^ 0x36), message]);
    hash([&block.map(|byte| byte ^ 0x5c), &inner])
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        match s.strip_prefix("sha256:") {
            Some(digits) if digits.len() == 64 && digits.bytes().all(hex) => Ok(Self(s.to_owned())),
            _ => Err(DigestError::Malformed(s.to_owned())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_sha256sum() {
        assert_eq!(
            Digest::of(b"abc").as_str(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(Digest::of(b"abc").short(), "ba7816bf8f01");
        assert_eq!(Digest::of(b"abc").bytes()[..3], [0xba, 0x78, 0x16]);
        assert_eq!(Digest::from_bytes(&Digest::of(b"abc").bytes()), Digest::of(b"abc"));
    }

    #[test]
    fn only_well_formed_digests_exist() {
        for bad in ["", "sha256:", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
        let upper = Digest::of(b"").to_string().replace('e', "E");
        assert!(upper.parse::<Digest>().is_err());
    }

    /// The first, second and sixth case of RFC 4231.
    #[test]
    fn hmac_as_rfc_4231_computes_it() {
        for (key, message, expected) in [
            (
                vec![0x0b; 20],
                "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            let found = hmac_sha256(&key, message.as_bytes());
            assert_eq!(Digest::from_bytes(&found).hex(), expected);
        }
    }
}
