//! An OTLP collector: HTTP with protobuf, decoded by OpenTelemetry's own types.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::daemon::LONG;

/// How a collector responds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CollectorBehavior {
    /// Accepts the spans.
    Healthy,
    /// Accepts the spans after a delay.
    Slow(Duration),
    /// Responds with status 500.
    Failing,
    /// Never responds.
    Hanging,
}

/// A collector on its own port, until the test ends.
pub struct Collector {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    spans: Vec<Span>,
    /// Service names received.
    services: Vec<String>,
    /// Number of requests received, successful or not.
    asked: usize,
}

impl Collector {
    pub fn start(mood: CollectorBehavior) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::<Shared>::default();
        let its = Arc::clone(&shared);
        // Both threads end with the process; a test starts few of them.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&its);
                thread::spawn(move || shared.serve(stream, mood));
            }
        });
        Self { address, shared }
    }

    /// Value for `otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All received spans, as soon as they `suffice`.
    pub fn spans(&self, what: &str, suffice: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let state = self.wait(what, |state| suffice(&state.spans));
        assert!(state.services.iter().all(|name| name == "forebay"), "{:?}", state.services);
        state.spans.clone()
    }

    /// Waits until `count` requests have arrived.
    pub fn await_asked(&self, count: usize) {
        drop(self.wait("a request", |state| state.asked >= count));
    }

    fn wait(&self, what: &str, holds: impl Fn(&State) -> bool) -> std::sync::MutexGuard<'_, State> {
        let state = self.shared.state.lock().unwrap();
        let waited = self.shared.changed.wait_timeout_while(state, LONG, |state| !holds(state));
        let (state, _) = waited.unwrap();
        let names = || state.spans.iter().map(|span| &span.name).collect::<Vec<_>>();
        assert!(holds(&state), "not within {LONG:?}: {what}; there are {:?}", names());
        state
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, mood: CollectorBehavior) {
        let Some(body) = request(&stream) else { return };
        self.state.lock().unwrap().asked += 1;
        self.changed.notify_all();
        match mood {
            CollectorBehavior::Healthy => {}
            CollectorBehavior::Slow(delay) => thread::sleep(delay),
            CollectorBehavior::Failing => {
                let answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops";
                return drop(stream.write_all(answer));
            }
            CollectorBehavior::Hanging => {
                // Until the client disconnects.
                return drop(stream.read_to_end(&mut Vec::new()));
            }
        }
        let request = ExportTraceServiceRequest::decode(&body[..]).expect("OTLP");
        let mut state = self.state.lock().unwrap();
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.expect("a resource");
            state.services.push(text(&resource.attributes, "service.name").expect("a service"));
            state.spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        drop(state);
        // An ExportTraceServiceResponse without fields has no bytes.
        let answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        let _ = stream.write_all(answer);
        self.changed.notify_all();
    }
}

/// Reads the body of a request to `/v1/traces`.
fn request(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        if line == "\r\n" {
            break;
        }
        head.push(line.trim_end().to_ascii_lowercase());
    }
    assert_eq!(head[0], "post /v1/traces http/1.1");
    assert!(head.contains(&"content-type: application/x-protobuf".to_owned()), "{head:?}");
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// The value of an attribute, as text.
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match &found.value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => Some(text.clone()),
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}
