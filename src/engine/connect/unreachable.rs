//! Why an engine cannot be reached, and what to do about it, in one line.

use std::{error::Error, io};

use super::{
    endpoint::{Endpoint, EngineAddress},
    transport::Failure,
};

pub(super) fn reason(endpoint: &Endpoint, failure: &Failure) -> String {
    match (failure, &endpoint.address) {
        (Failure::Open(error), address) => opening(endpoint, address, error),
        (Failure::Broken(error), EngineAddress::Command(command)) => {
            let program = command.first().map_or("ssh", String::as_str);
            let said = deepest(error);
            if said.starts_with(program) { said } else { format!("`{program}` says: {said}") }
        }
        (Failure::Broken(error), address) => broken(address, &deepest(error)),
        (Failure::Lost(reason), address) => broken(address, reason),
        (Failure::Request(error), _) => error.to_string(),
    }
}

fn broken(address: &EngineAddress, reason: &str) -> String {
    // The other side ends the handshake when it misses our certificate, after we are done.
    if matches!(address, EngineAddress::Tls { .. }) && reason.contains("fatal alert") {
        return format!("TLS failed ({reason}); see `DOCKER_CERT_PATH`");
    }
    format!("the connection broke ({reason}); is the engine still running?")
}

fn opening(endpoint: &Endpoint, address: &EngineAddress, error: &io::Error) -> String {
    // Of several places that were tried one question would not be answered better than another.
    let question = match endpoint.is_default() {
        true => "",
        false if endpoint.is_buildkitd() => "; is buildkitd running?",
        false => "; is the docker daemon running?",
    };
    match (address, error.kind()) {
        (EngineAddress::Unix(_), io::ErrorKind::NotFound) => {
            format!("there is no such socket{question}")
        }
        (EngineAddress::Unix(_), io::ErrorKind::PermissionDenied) if endpoint.is_buildkitd() => {
            "permission denied; `buildkitd --group NAME` gives a group access to its socket"
                .to_owned()
        }
        (EngineAddress::Unix(_), io::ErrorKind::PermissionDenied) => {
            "permission denied; a member of the group `docker` may use it \
             (`sudo usermod -aG docker $USER`, then log in again)"
                .to_owned()
        }
        (_, io::ErrorKind::ConnectionRefused) => {
            format!("nobody listens there{question}")
        }
        (_, io::ErrorKind::TimedOut) => "no answer within 30 seconds".to_owned(),
        (EngineAddress::Tls { .. }, io::ErrorKind::InvalidData) => {
            format!("TLS failed ({error}); see `DOCKER_CERT_PATH` or the context's `ca`")
        }
        _ => error.to_string(),
    }
}

/// The first cause, which is the one that says something.
fn deepest(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
