//! Servers that accept connections but never respond: how many requests wait for them, and for how long.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::test_servers::{DatabaseKind, TestServers};
use super::test_users::{expect, new_user, register_and_wait, register_once};
use support::daemon::LONG;
use support::http::{Client, Response};
use support::process::Forebay;
use support::proxy::{LinkState, Proxy};
use support::{daemon, wait};

/// Timeout of Redis and of the database.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Number of concurrent clients.
const CLIENTS: usize = 8;
/// Number of requests while a dependency is known to be unavailable.
const MANY: usize = 480;
/// Far below `MANY`, far above the number of probes and background checks in that time.
const FEW: usize = MANY / 8;
/// Error codes of requests whose checks exceeded 50 ms.
const HURRIED: [&str; 2] = ["markers_unavailable", "database_unavailable"];

/// Expected responses while a server hangs, to registrations and to reads of users that do not exist.
struct Expected {
    written: (u16, &'static str),
    read: (u16, &'static str),
}

/// Expected responses while no server hangs.
const HEALTHY: Expected = Expected { written: (202, ""), read: (404, "not_found") };

/// One response.
struct RequestResult {
    response: Response,
    written: bool,
}

/// A daemon and its clients.
struct RequestDriver {
    forebay: Forebay,
    next: AtomicUsize,
}

impl RequestDriver {
    fn new(forebay: Forebay, first: usize) -> RequestDriver {
        let timeout = format!("{}s", TIMEOUT.as_secs());
        let keys = ["redis.timeout", "database.acquire_timeout", "database.statement_timeout"];
        let mut forebay = keys.into_iter().fold(forebay, |forebay, key| forebay.set(key, timeout.as_str()));
        forebay.start();
        RequestDriver { forebay, next: AtomicUsize::new(first) }
    }

    /// Sends `count` requests from several clients, alternating registrations and reads.
    fn send_requests(&self, count: usize) -> Vec<RequestResult> {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    scope.spawn(|| {
                        // Above the maximum wait of a request, so that the daemon ends it and not the client.
                        let mut http = self.forebay.http().with_read_within(LONG);
                        (0..count / CLIENTS)
                            .map(|turn| self.send_one(&mut http, turn % 2 == 0))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        })
    }

    fn send_one(&self, http: &mut Client, written: bool) -> RequestResult {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let response = match written {
            true => register_once(http, &new_user(number)),
            false => http.get(&format!("/v1/users/nobody-{number}")).expect("an answer"),
        };
        RequestResult { response, written }
    }

    fn is_open(&self, dependency: &str) -> bool {
        let gauge = format!("forebay_breaker_open{{dependency=\"{dependency}\"}}");
        daemon::metric(&self.forebay, &gauge) > 0.0
    }

    /// The whole scenario: the server hangs, the first requests detect it, most requests then avoid it, and it
    /// recovers.
    fn assert_bounded_hang(&self, dependency: &str, proxy: &Proxy, expected: &Expected) {
        self.await_recovery(dependency);
        proxy.set(LinkState::NO_RESPONSES);
        // Each request must end, or its client fails the test.
        wait::until_true(&format!("{dependency} gets no more requests"), LONG, || {
            self.send_requests(2 * CLIENTS);
            self.is_open(dependency)
        });
        self.assert_refused(dependency, proxy, expected);
        proxy.heal();
        self.await_recovery(dependency);
    }

    /// Waits until requests are processed normally.
    fn await_recovery(&self, dependency: &str) {
        wait::until_true("requests pass", LONG, || {
            let answers = self.send_requests(2 * CLIENTS);
            !self.is_open(dependency) && answers.iter().all(|answer| answer.matches(&HEALTHY))
        });
    }

    /// Checks the responses while the circuit breaker is open.
    fn assert_refused(&self, dependency: &str, proxy: &Proxy, expected: &Expected) {
        let before = proxy.requests();
        let answers = self.send_requests(MANY);
        let asked = proxy.requests() - before;
        assert!(asked < FEW, "{dependency} got {asked} queries for {MANY} requests");
        // Requests do not wait for a server that is not queried. On a busy machine the checks may still exceed their 50
        // ms, with the codes of `HURRIED`.
        for answer in answers.iter().filter(|answer| !answer.matches(expected)) {
            let code = answer.response.json()["code"].clone();
            assert!(HURRIED.iter().any(|hurried| code == *hurried), "{}", answer.response.text());
        }
        assert!(self.is_open(dependency));
    }
}

impl RequestResult {
    /// Whether the response is as expected. Checks `Retry-After` where it is required.
    fn matches(&self, expected: &Expected) -> bool {
        let (status, code) = if self.written { expected.written } else { expected.read };
        let (response, retry_after) = (&self.response, self.response.header("retry-after").is_some());
        response.status == status
            && (status < 400 || response.json()["code"] == code)
            && retry_after == (status == 503)
    }
}

/// Each daemon uses its own range of user numbers.
const NUMBERS_PER_DAEMON: usize = 100_000;

#[test]
fn a_hanging_redis_delays_few_requests() {
    let Some(stage) = TestServers::with_front("a_hanging_redis_delays_few_requests", DatabaseKind::MariaDb)
    else {
        return;
    };
    let strict = RequestDriver::new(stage.daemon(), 0);
    let rejected = Expected { written: (503, "markers_unavailable"), read: (404, "not_found") };
    strict.assert_bounded_hang("redis", &stage.front().redis, &rejected);
    drop(strict);
    let lenient =
        RequestDriver::new(stage.daemon().set("users.on_marker_failure", "degrade"), NUMBERS_PER_DAEMON);
    let degraded = Expected { written: (202, ""), read: (404, "not_found") };
    lenient.assert_bounded_hang("redis", &stage.front().redis, &degraded);
}

#[test]
fn a_hanging_database_delays_few_requests() {
    let Some(stage) =
        TestServers::with_front("a_hanging_database_delays_few_requests", DatabaseKind::MariaDb)
    else {
        return;
    };
    let strict = RequestDriver::new(stage.daemon(), 0);
    let unavailable = (503, "database_unavailable");
    let rejected = Expected { written: unavailable, read: unavailable };
    strict.assert_bounded_hang("database", &stage.front().sql, &rejected);
    drop(strict);
    let lenient =
        RequestDriver::new(stage.daemon().set("users.on_database_failure", "accept"), NUMBERS_PER_DAEMON);
    let accepted = Expected { written: (202, ""), read: unavailable };
    lenient.assert_bounded_hang("database", &stage.front().sql, &accepted);
}

#[test]
fn a_hanging_kafka_delays_no_request() {
    let Some(stage) = TestServers::with_front("a_hanging_kafka_delays_no_request", DatabaseKind::MariaDb)
    else {
        return;
    };
    let counter = RequestDriver::new(stage.daemon_with_consumer(), 1);
    counter.await_recovery("database");
    expect(&register_and_wait(&mut counter.forebay.http(), &new_user(0)), 201, "");
    for link in [LinkState::NO_RESPONSES, LinkState::CUT] {
        stage.front().kafka.set(link);
        // A response that waited for Kafka would never arrive: Kafka does not respond, and no timeout is set here.
        for answer in counter.send_requests(MANY).iter().filter(|answer| !answer.matches(&HEALTHY)) {
            let code = answer.response.json()["code"].clone();
            assert!(HURRIED.iter().any(|hurried| code == *hurried), "{}", answer.response.text());
        }
        let last = counter.next.fetch_add(1, Ordering::Relaxed);
        let mut http = counter.forebay.http();
        let asked = wait::until("somebody is registered", LONG, || {
            let asked = register_once(&mut http, &new_user(last));
            (asked.status == 202).then_some(asked)
        });
        let status = http.get(asked.header("location").unwrap()).unwrap();
        assert_eq!(expect(&status, 200, "")["state"], "accepted");
        stage.front().kafka.heal();
        daemon::await_drained(&counter.forebay);
        wait::until_true("what was accepted is applied", LONG, || {
            http.get(&format!("/v1/users/user-{last}")).unwrap().status == 200
        });
    }
}
