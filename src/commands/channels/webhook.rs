//! The JSON report of a run for any program, signed by Standard Webhooks:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    host::environment,
    image::{Digest, hmac_sha256},
    report::{Record, whole},
};

/// The key: `whsec_` and base64, or any text.
const SECRET: &str = "REBUILD_WEBHOOK_SECRET";

/// The JSON report of a run, and the ID of its message.
pub(super) fn report(record: &Record) -> Result<(String, Value), String> {
    let mut body = Vec::new();
    whole(record, &mut body).map_err(|error| error.to_string())?;
    // Of a run that did not begin: as good as a number.
    let id = match &record.summary {
        Some(summary) => summary.run.clone(),
        None => format!("{}-{}", record.began.as_millisecond(), Digest::of(&body).short()),
    };
    let body = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok((id, body))
}

/// The headers of a message with this ID and time, signed with the secret of the environment.
pub(super) fn headers(message: (&str, Timestamp), body: &[u8]) -> Result<HeaderMap, String> {
    signed(message, body, environment(SECRET).as_deref())
}

/// `webhook-id` stays the same when it is sent again, so that the receiver can tell.
fn signed(
    (id, now): (&str, Timestamp),
    body: &[u8],
    secret: Option<&str>,
) -> Result<HeaderMap, String> {
    let time = now.as_second().to_string();
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
        headers.insert(HeaderName::from_static(name), value);
        Ok::<_, String>(())
    };
    add("webhook-id", id)?;
    add("webhook-timestamp", &time)?;
    if let Some(secret) = secret {
        let key = match secret.strip_prefix("whsec_") {
            Some(base64) => BASE64_STANDARD
                .decode(base64)
                .map_err(|_| format!("`{SECRET}` is not base64 behind `whsec_`"))?,
            None => secret.as_bytes().to_vec(),
        };
        let signed = [id.as_bytes(), b".", time.as_bytes(), b".", body].concat();
        let signature = BASE64_STANDARD.encode(hmac_sha256(&key, &signed));
        add("webhook-signature", &format!("v1,{signature}"))?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's libraries.
    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        let now = Timestamp::from_second(1_614_265_330).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let id = ("msg_p5jXN8AQM9LWM0D4loKWxJek", now);
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let headers = signed(id, body, Some(secret)).unwrap();
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(headers["webhook-signature"], expected);
        assert_eq!(headers["webhook-timestamp"], "1614265330");
        let error = signed(id, body, Some("whsec_~secret~")).unwrap_err();
        assert!(!error.contains("~secret~"), "{error}");
        assert!(!signed(id, body, None).unwrap().contains_key("webhook-signature"));
    }
}
