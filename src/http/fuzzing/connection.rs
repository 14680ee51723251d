//! Fuzz target: a complete connection without a socket, through hyper, deadlines, routes and bodies.

use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::fake::{EmptyAdmin, Pipe, RecordingService};
use crate::auth;
use crate::auth::Authenticator;
use crate::http::Metrics;
use crate::http::api::catalogue::Catalogue;
use crate::http::api::state::{Api, ApiParts};
use crate::http::config::Config;
use crate::http::server::connection;
use crate::http::server::service::ServiceRunner;
use crate::kinds::{Kinds, defaults};
use crate::metrics::Registry;
use crate::sync::Mutex;
use crate::telemetry::trace::Tracer;
use crate::units::ByteSize;

const MAX_BODY: usize = 1 << 10;
const MAX_BATCH_BODY: usize = 2 << 10;

type Fake = (RecordingService, Arc<ServiceRunner<Api<RecordingService>>>, Config);

static SERVICE: LazyLock<Fake> = LazyLock::new(service);

fn service() -> Fake {
    let config = Config {
        max_body: ByteSize(MAX_BODY as u64),
        max_batch_body: ByteSize(MAX_BATCH_BODY as u64),
        // The host name in the corpus.
        allowed_hosts: serde_json::from_str(r#"["a"]"#).expect("a list of names"),
        ..Config::default()
    };
    let taken = RecordingService::default();
    let registry = Registry::new().expect("metrics of our own");
    let metrics = Arc::new(Metrics::register(&registry).expect("metrics of our own"));
    let tokens = auth::Metrics::register(&registry).expect("metrics of our own");
    let parts = ApiParts {
        commands: taken.clone(),
        has_users: true,
        users: None,
        authenticator: Authenticator::open(&tokens),
        login: None,
        limits: None,
        kinds: Catalogue::new(Kinds::build(&defaults()).expect("the kinds we ship")),
        backend: Arc::new(EmptyAdmin),
        metrics,
        message_max: ByteSize::kib(1),
        tracer: Tracer::default(),
    };
    let runner = Arc::new(ServiceRunner::new(Api::new(&config, parts), true));
    (taken, runner, config)
}

/// Sends any bytes over a connection. The first byte is the size of the pieces. Checks that:
///
/// - all output is valid responses,
/// - all submitted commands are JSON objects within the limits,
/// - each submission has its own 2xx response.
pub fn http(data: &[u8]) {
    let Some((&piece, wire)) = data.split_first() else { return };
    let (taken, runner, config) = &*SERVICE;
    let input: VecDeque<_> = wire.chunks(usize::from(piece) + 1).map(<[u8]>::to_vec).collect();
    let output = Arc::new(Mutex::new(Vec::new()));
    let pipe = Pipe { input, output: Arc::clone(&output) };
    let (_stop, stopped) = watch::channel(false);
    block_on(connection::serve(
        pipe,
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        Arc::clone(runner),
        config.limits(),
        stopped,
    ));
    let written = std::mem::take(&mut *output.lock());
    let submitted = taken.take();
    let posts = wire.windows(5).filter(|window| window == b"POST ").count();
    assert!(submitted.len() <= posts, "more submissions than requests");
    for request in &submitted {
        assert!(!request.commands.is_empty());
        let bytes: usize = request.commands.iter().map(|command| command.value.len()).sum();
        assert!(bytes <= MAX_BATCH_BODY);
        for command in &request.commands {
            let value: serde_json::Value = serde_json::from_slice(&command.value).expect("JSON");
            assert!(value.is_object());
        }
    }
    // A response to HEAD has a length but no body. Its end cannot be found without its request.
    if !wire.windows(5).any(|window| window == b"HEAD ") {
        let accepted = statuses(&written).into_iter().filter(|status| (200..300).contains(status)).count();
        assert!(accepted >= submitted.len(), "{} submissions, {accepted} acceptances", submitted.len());
    }
}

/// The statuses of consecutive responses. Panics if a response is incomplete.
fn statuses(mut written: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    while !written.is_empty() {
        let end = written.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = str::from_utf8(&written[..end]).expect("heads are text");
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).expect("a status line");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        statuses.push(status.parse().expect("three digits"));
        written = written[end + 4..].split_at_checked(length.unwrap_or(0)).expect("a whole body").1;
    }
    statuses
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime of one thread");
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}
