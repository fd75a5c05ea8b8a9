//! Calls to a server in this process that answers as told.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use tokio::io::DuplexStream;

use super::*;

/// What the server answers: headers, frames, trailers.
#[derive(Clone, Copy)]
enum Answer {
    /// Messages, and the status after them.
    Messages(&'static [&'static str], &'static [(&'static str, &'static str)]),
    /// A status instead of messages.
    Headers(&'static [(&'static str, &'static str)]),
    /// The connection ends after a message.
    Hangup(&'static str),
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .collect()
}

fn frame(message: &str) -> Bytes {
    let mut frames = BytesMut::new();
    put(&StatusRequest { build: message.to_owned() }, &mut frames);
    frames.freeze()
}

/// Answers one call, and returns its path and its message.
async fn serve(io: DuplexStream, answer: Answer) -> (String, String) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    let (head, body) = request.into_parts();
    let answering = async {
        let message: Option<StatusRequest> = GrpcMessages::of_answer(body).next().await.unwrap();
        match answer {
            Answer::Headers(status) => {
                let mut response = Response::new(());
                *response.headers_mut() = headers(status);
                respond.send_response(response, true).unwrap();
            }
            Answer::Messages(messages, status) => {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                for message in messages {
                    stream.send_data(frame(message), false).unwrap();
                }
                stream.send_trailers(headers(status)).unwrap();
            }
            Answer::Hangup(message) => {
                let mut stream = respond.send_response(Response::new(()), false).unwrap();
                let mut frames = BytesMut::from(&frame(message)[..]);
                frames.put_u8(0);
                stream.send_data(frames.freeze(), false).unwrap();
                stream.send_reset(h2::Reason::INTERNAL_ERROR);
            }
        }
        message.unwrap().build
    };
    let message = tokio::select! {
        message = answering => message,
        _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => unreachable!("it waits"),
    };
    connection.graceful_shutdown();
    _ = std::future::poll_fn(|cx| connection.poll_closed(cx)).await;
    (head.uri.path().to_owned(), message)
}

async fn call(answer: Answer) -> Result<String, CallError> {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(serve(theirs, answer));
    let control = Control::over(ours).await.unwrap();
    let message = StatusRequest { build: "question".to_owned() };
    let answered: Result<StatusRequest, _> = control.call(STATUS, &message).await;
    drop(control);
    let seen = server.await.unwrap();
    assert_eq!(seen, (STATUS.to_owned(), "question".to_owned()));
    answered.map(|answer| answer.build)
}

#[tokio::test]
async fn only_a_message_and_the_status_zero_are_an_answer() {
    let refused =
        |code, message: &str| Err(CallError::Refused { code, message: message.to_owned() });
    for (answer, expected) in [
        (Answer::Messages(&["yes"], &[("grpc-status", "0")]), Ok("yes".to_owned())),
        (
            Answer::Messages(&[], &[("grpc-status", "0")]),
            Err(CallError::Invalid("nothing".to_owned())),
        ),
        (
            Answer::Messages(
                &["yes"],
                &[("grpc-status", "2"), ("grpc-message", "exit code: 7%0A100%25")],
            ),
            refused(2, "exit code: 7\n100%"),
        ),
        (
            Answer::Headers(&[("grpc-status", "12"), ("grpc-message", "unknown method")]),
            refused(12, "unknown method"),
        ),
    ] {
        assert_eq!(call(answer).await, expected);
    }
    let cut = call(Answer::Hangup("yes")).await;
    assert!(matches!(cut, Err(CallError::Broken(_))), "{cut:?}");
}
