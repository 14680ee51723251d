use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::sync::mpsc;

use super::*;
use crate::metrics::Registry;
use crate::units::ThreadCount;

/// Far longer than any test takes.
const LONG: Duration = Duration::from_secs(60);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn pool(cost: u32, threads: usize) -> (HashPool, HashWorkers, Metrics) {
    let metrics = Metrics::register(&Registry::new().unwrap()).unwrap();
    let hash_threads = ThreadCount::Count(NonZeroUsize::new(threads).unwrap());
    let config = Config { password_cost: cost, hash_threads, ..Config::default() };
    let (pool, workers) = HashPool::start(&config, metrics.clone(), &FatalSignal::default()).unwrap();
    (pool, workers, metrics)
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

fn later() -> Instant {
    Instant::now() + LONG
}

/// Starts `count` deferred hashes and returns their results.
fn ahead(pool: &HashPool, count: usize) -> mpsc::Receiver<Result<String, HashError>> {
    let (give, get) = mpsc::channel();
    for _ in 0..count {
        let give = give.clone();
        pool.hash_deferred(secret("hunter2"), [1; 16], move |hashed| drop(give.send(hashed)));
    }
    get
}

#[tokio::test]
async fn only_the_right_password_verifies_a_hash() {
    let (pool, workers, metrics) = pool(4, 2);
    let hash = pool.hash(secret("hunter2"), random_salt().unwrap(), CLIENT, later()).await.unwrap();
    assert!(hash.starts_with("$2b$04$"), "{hash}");
    assert_eq!(
        [bcrypt::verify("hunter2", &hash), bcrypt::verify("hunter3", &hash)].map(Result::unwrap),
        [true, false]
    );
    assert_eq!(metrics.waiting.get(), 0);
    workers.stop(LONG);
    assert_eq!(pool.hash(secret("hunter2"), [1; 16], CLIENT, later()).await, Err(HashError::Closing));
}

#[tokio::test]
async fn passwords_have_at_most_72_bytes() {
    let (pool, _workers, _) = pool(4, 1);
    let (longest, other) = ("x".repeat(72), "x".repeat(71) + "y");
    let hash = pool.hash(secret(&longest), [1; 16], CLIENT, later()).await.unwrap();
    assert!(bcrypt::verify(&longest, &hash).unwrap() && !bcrypt::verify(&other, &hash).unwrap());
    let refused = pool.hash(secret(&(longest.clone() + "z")), [1; 16], CLIENT, later()).await;
    assert_eq!(refused, Err(HashError::TooLong));
    let (give, get) = mpsc::channel();
    pool.hash_deferred(secret(&(longest + "z")), [1; 16], move |hashed| drop(give.send(hashed)));
    assert_eq!(get.recv_timeout(LONG).unwrap(), Err(HashError::TooLong));
}

#[tokio::test]
async fn a_stored_hash_of_invalid_cost_matches_no_password() {
    let (pool, _workers, _) = pool(4, 1);
    let real = pool.hash(secret("hunter2"), [1; 16], CLIENT, later()).await.unwrap();
    // Cost 20 would block the thread for a minute, cost 30 for a day.
    for cost in ["00", "03", "16", "20", "30", "99"] {
        let hash = real.replace("$04$", &format!("${cost}$"));
        assert_eq!(pool.verify(secret("hunter2"), &hash, CLIENT, later()).await, Ok(false), "{cost}");
    }
    for hash in ["", "hunter2", "$argon2id$v=19$m=4096,t=3,p=1$c2FsdA$aGFzaA"] {
        assert_eq!(pool.verify(secret("hunter2"), hash, CLIENT, later()).await, Ok(false), "{hash}");
    }
    assert_eq!(pool.verify(secret("hunter2"), &real, CLIENT, later()).await, Ok(true));
}

#[test]
fn the_same_salt_gives_the_same_hash() {
    let (pool, _workers, _) = pool(4, 2);
    let hashes: Vec<_> = ahead(&pool, 4).into_iter().map(Result::unwrap).collect();
    assert_eq!(hashes.len(), 4);
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
}

#[tokio::test]
async fn a_job_that_would_be_late_is_rejected_at_once() {
    // About 50 ms each on one thread: the second would already be late.
    let (pool, _workers, metrics) = pool(10, 1);
    let _busy = ahead(&pool, 20);
    let waiting = pool.shared.queue.len();
    let refused =
        pool.hash(secret("hunter2"), [1; 16], CLIENT, Instant::now() + Duration::from_millis(1)).await;
    let Err(HashError::Busy { retry_after }) = refused else { panic!("{refused:?}") };
    assert!(retry_after > Duration::from_millis(1));
    assert!(pool.shared.queue.len() <= waiting);
    assert_eq!(metrics.queue_hit.get(), 1);
}

#[tokio::test]
async fn interactive_jobs_are_served_between_deferred_ones() {
    let (pool, _workers, _) = pool(4, 1);
    let (serve, served) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    // The first job blocks the thread until a request waits, and the third job until the request was served.
    pool.hash_deferred(secret("hunter2"), [1; 16], move |_| begun.recv_timeout(LONG).unwrap());
    pool.hash_deferred(secret("hunter2"), [1; 16], |_| ());
    let (give, get) = mpsc::channel();
    pool.hash_deferred(secret("hunter2"), [1; 16], move |_| give.send(served.recv_timeout(LONG)).unwrap());
    let mut waiting = std::pin::pin!(pool.hash(secret("hunter2"), [1; 16], CLIENT, later()));
    let first = std::future::poll_fn(|context| std::task::Poll::Ready(waiting.as_mut().poll(context))).await;
    assert!(first.is_pending());
    begin.send(()).unwrap();
    waiting.await.unwrap();
    serve.send(()).unwrap();
    assert_eq!(get.recv_timeout(LONG).unwrap(), Ok(()), "the request waited for later deferred jobs");
}

#[test]
fn a_stop_returns_the_waiting_jobs() {
    let (pool, workers, _) = pool(4, 1);
    // The thread is blocked until the stop has begun: a request then gets the error that the daemon is stopping.
    let asking = pool.clone();
    pool.hash_deferred(secret("hunter2"), [1; 16], move |_| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let ask = || runtime.block_on(asking.hash(secret("hunter2"), [1; 16], CLIENT, Instant::now()));
        while ask() != Err(HashError::Closing) {}
    });
    let results = ahead(&pool, 50);
    workers.stop(LONG);
    let results: Vec<_> = results.into_iter().collect();
    assert_eq!(results.len(), 50, "each job gets a result");
    assert!(results.contains(&Err(HashError::Closing)));
}
