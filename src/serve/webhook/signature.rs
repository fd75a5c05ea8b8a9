//! The credentials of a delivery: a signature of its body, or a token.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::HeaderMap;
use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use crate::image::hmac_sha256;

/// How far the timestamp of a delivery may be from now, in seconds:
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
const TOLERANCE: i64 = 300;

/// How a delivery showed that its sender knows the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookCredential {
    /// A signature of the body, of the time and of this ID.
    Timestamped { id: String },
    /// A signature of the body.
    Signature,
    /// The secret itself.
    Token,
}

/// Why a delivery is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookRefusal {
    #[error("the delivery has no signature and no token")]
    NoCredential,
    #[error("the signature is wrong: is the secret the same at both ends?")]
    WrongSignature,
    #[error("the token is wrong")]
    WrongToken,
    #[error("the time in `webhook-timestamp` is more than 5 minutes from now")]
    WrongTime,
}

/// Checks the credential of a delivery.
///
/// Every hook takes: `webhook-signature` (Standard Webhooks), `X-Hub-Signature-256` (GitHub), `X-Gitea-Signature`,
/// `X-Forgejo-Signature`, `X-Gitlab-Token`, `Authorization`, and the token of the address for senders that can set no
/// header. The first of these that is there decides.
pub fn authenticate(
    secret: &str,
    headers: &HeaderMap,
    (body, token): (&[u8], Option<&str>),
    now: Timestamp,
) -> Result<HookCredential, HookRefusal> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let hmac = |signature: &str| {
        let expected = hex(&hmac_sha256(secret.as_bytes(), body));
        let is_right = equal(signature.trim().to_ascii_lowercase().as_bytes(), expected.as_bytes());
        if is_right { Ok(HookCredential::Signature) } else { Err(HookRefusal::WrongSignature) }
    };
    if let Some(signatures) = header("webhook-signature") {
        return standard(secret, header, (body, signatures), now);
    }
    if let Some(signature) = header("x-hub-signature-256") {
        return hmac(signature.strip_prefix("sha256=").ok_or(HookRefusal::WrongSignature)?);
    }
    if let Some(signature) = header("x-forgejo-signature").or_else(|| header("x-gitea-signature")) {
        return hmac(signature);
    }
    let authorization = header("authorization").map(|value| {
        let bearer = value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
        bearer.map_or(value, |_| &value[7..])
    });
    let Some(given) = header("x-gitlab-token").or(authorization).or(token) else {
        return Err(HookRefusal::NoCredential);
    };
    // Hashes have one length, so that the comparison does not tell the length of the secret.
    let hash = |text: &str| hmac_sha256(b"rebuild hook token", text.as_bytes());
    if equal(&hash(given.trim()), &hash(secret)) {
        Ok(HookCredential::Token)
    } else {
        Err(HookRefusal::WrongToken)
    }
}

fn standard<'a>(
    secret: &str,
    header: impl Fn(&str) -> Option<&'a str>,
    (body, signatures): (&[u8], &str),
    now: Timestamp,
) -> Result<HookCredential, HookRefusal> {
    let (Some(id), Some(time)) = (header("webhook-id"), header("webhook-timestamp")) else {
        return Err(HookRefusal::WrongSignature);
    };
    let key = match secret.strip_prefix("whsec_") {
        Some(key) => BASE64_STANDARD.decode(key).map_err(|_| HookRefusal::WrongSignature)?,
        None => secret.as_bytes().to_vec(),
    };
    let signed = [id.as_bytes(), b".", time.as_bytes(), b".", body].concat();
    let expected = BASE64_STANDARD.encode(hmac_sha256(&key, &signed));
    // Several, while a key is replaced.
    let mut versions = signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
    if !versions.any(|signature| equal(signature.as_bytes(), expected.as_bytes())) {
        return Err(HookRefusal::WrongSignature);
    }
    let time: i64 = time.parse().map_err(|_| HookRefusal::WrongTime)?;
    if now.as_second().abs_diff(time) > TOLERANCE.unsigned_abs() {
        return Err(HookRefusal::WrongTime);
    }
    Ok(HookCredential::Timestamped { id: id.to_owned() })
}

/// Takes the same time wherever the two differ.
pub(in crate::serve) fn equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

pub(in crate::serve) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        _ = write!(text, "{byte:02x}");
    }
    text
}
