//! The engine's side of a session: it calls, as buildkit does.

use bytes::{Bytes, BytesMut};
use h2::{
    RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{HeaderMap, HeaderValue, Request};
use prost::Message;
use tokio::io::DuplexStream;

use crate::engine::session::{
    grpc,
    wire::{Packet, PacketKind, Stat},
};

/// A call the engine has made.
pub(super) struct EngineCall {
    to_us: SendStream<Bytes>,
    pub(super) from_us: RecvStream,
    status: Option<String>,
    received: BytesMut,
}

pub(super) async fn connect(io: DuplexStream) -> SendRequest<Bytes> {
    let (engine, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    engine
}

/// Begins a call.
pub(super) async fn call(
    engine: &SendRequest<Bytes>,
    method: &str,
    headers: &[(&str, &str)],
) -> EngineCall {
    let mut request = Request::post(format!("http://localhost{method}"));
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    let mut engine = engine.clone().ready().await.unwrap();
    let (response, to_us) = engine.send_request(request.body(()).unwrap(), false).unwrap();
    answered(response, to_us).await
}

/// Makes a call of one message.
pub(super) async fn ask(
    engine: &SendRequest<Bytes>,
    method: &str,
    message: &impl Message,
) -> EngineCall {
    let request = Request::post(format!("http://localhost{method}")).body(()).unwrap();
    let mut engine = engine.clone().ready().await.unwrap();
    let (response, mut to_us) = engine.send_request(request, false).unwrap();
    let mut frame = BytesMut::new();
    grpc::put(message, &mut frame);
    to_us.send_data(frame.freeze(), true).unwrap();
    answered(response, to_us).await
}

async fn answered(response: ResponseFuture, to_us: SendStream<Bytes>) -> EngineCall {
    let (head, from_us) = response.await.unwrap().into_parts();
    EngineCall { to_us, from_us, status: status(&head.headers), received: BytesMut::new() }
}

fn status(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap());
    Some(format!("{} {}", text("grpc-status")?, text("grpc-message").unwrap_or_default()))
}

impl EngineCall {
    fn send(&mut self, message: &impl Message) {
        let mut frame = BytesMut::new();
        grpc::put(message, &mut frame);
        self.to_us.send_data(frame.freeze(), false).unwrap();
    }

    pub(super) async fn next<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if self.received.len() >= 5 {
                let length = u32::from_be_bytes(self.received[1..5].try_into().unwrap()) as usize;
                if self.received.len() >= 5 + length {
                    let frame = self.received.split_to(5 + length);
                    return Some(M::decode(&frame[5..]).unwrap());
                }
            }
            let data = self.from_us.data().await?.unwrap();
            self.from_us.flow_control().release_capacity(data.len()).unwrap();
            self.received.extend_from_slice(&data);
        }
    }

    /// How it ended.
    pub(super) async fn status(mut self) -> String {
        assert_eq!(self.next::<Packet>().await, None);
        match self.status.take() {
            Some(status) => status,
            None => status(&self.from_us.trailers().await.unwrap().unwrap()).unwrap(),
        }
    }

    /// The list of files.
    pub(super) async fn list(&mut self) -> Vec<Stat> {
        let mut list = Vec::new();
        loop {
            let packet: Packet = self.next().await.unwrap();
            assert_eq!(packet.kind(), PacketKind::Stat);
            match packet.stat {
                Some(stat) => list.push(stat),
                None => return list,
            }
        }
    }

    pub(super) fn request(&mut self, id: u32) {
        self.send(&Packet { kind: PacketKind::Request.into(), id, ..Packet::default() });
    }

    /// A whole file, or the error instead.
    pub(super) async fn file(&mut self, id: u32) -> Result<Vec<u8>, String> {
        let mut file = Vec::new();
        loop {
            let packet: Packet = self.next().await.unwrap();
            match packet.kind() {
                PacketKind::Data if packet.data.is_empty() => return Ok(file),
                PacketKind::Data => {
                    assert_eq!(packet.id, id);
                    file.extend_from_slice(&packet.data);
                }
                PacketKind::Error => return Err(String::from_utf8(packet.data.into()).unwrap()),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn finish(mut self) -> String {
        self.send(&Packet { kind: PacketKind::Finish.into(), ..Packet::default() });
        let answer: Packet = self.next().await.unwrap();
        assert_eq!(answer.kind(), PacketKind::Finish);
        self.status().await
    }
}
