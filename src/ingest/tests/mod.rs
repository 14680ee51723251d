//! Tests of idempotency keys and claims on a real log with its index.

mod slow_disk;

use std::path::Path;

use bytes::Bytes;

use super::index::IndexLookup;
use super::request::RequestDigests;
use super::*;
use crate::command::Owner;
use crate::metrics::Registry;
use crate::units::Timestamp;
use crate::wal;

/// Far longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

struct IngestFixture {
    ingest: Ingest,
    threads: IngestThreads,
}

impl IngestFixture {
    fn open(dir: &Path) -> Self {
        let options = wal::Options {
            segment_size: 1 << 20,
            reserve_space: 0,
            redeliver: false,
            keys: wal::Keys::default(),
            label: |_| None,
            observer: Arc::new(|_| {}),
        };
        let opened = wal::open(Arc::new(wal::fs::RealFs), dir, &options, Timestamp::now()).unwrap();
        let parts = IngestParts {
            writer: opened.writer,
            config: Config::default(),
            checkpoint_interval: Duration::from_millis(20),
            metrics: Arc::new(Metrics::register(&Registry::new().unwrap()).unwrap()),
            fatal: FatalSignal::default(),
            tracer: Tracer::default(),
        };
        let (ingest, threads) = start(parts).unwrap();
        Self { ingest, threads }
    }

    fn close(self) {
        self.threads.join(LONG);
    }
}

fn command(kind: &str, claim: Option<[u8; 16]>) -> Submission {
    Submission {
        kind: kind.into(),
        topic: "t".into(),
        key: None,
        content_type: "application/json".into(),
        claim,
        fingerprint: None,
        sealed: false,
        headers: Default::default(),
        no_value: false,
        value: Bytes::from_static(b"{}"),
    }
}

fn request(claims: &[Option<[u8; 16]>], idempotency: Option<Idempotency>) -> Request {
    let commands = claims.iter().map(|claim| command("user.create", *claim)).collect();
    Request { commands, traceparent: None, idempotency, principal: None }
}

fn keyed(key: &str, body: &'static str, route: Option<&str>) -> Option<Idempotency> {
    let route = route.map(str::to_owned);
    Some(Idempotency { key: key.to_owned(), body: Bytes::from_static(body.as_bytes()), route })
}

/// A copy of the directory, as a crash at this instant would leave it.
fn crash_copy(of: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let to = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy(&path, &to);
            } else if let Err(error) = std::fs::copy(&path, &to) {
                // A temporary file that was renamed meanwhile.
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display());
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    copy(of, to.path());
    to
}

#[tokio::test]
async fn only_a_known_claim_leads_to_its_command() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = IngestFixture::open(dir.path());
    // The first record has a key and a claim: both lead to it.
    let key = keyed("k", "b", None);
    let receipt =
        fixture.ingest.submit(request(&[Some([1; 16]), None, Some([3; 16])], key.clone())).await.unwrap();
    assert_eq!(fixture.ingest.find_claimed(&[1; 16]).await, Ok(Some(receipt.ids[0])));
    assert_eq!(fixture.ingest.find_claimed(&[3; 16]).await, Ok(Some(receipt.ids[2])));
    assert_eq!(fixture.ingest.find_claimed(&[2; 16]).await, Ok(None));
    let again = fixture.ingest.find_repeat(&request(&[None; 3], key)).await.unwrap().unwrap();
    assert_eq!((again.ids, again.replayed), (receipt.ids, true));
    fixture.close();
}

#[tokio::test]
async fn a_crash_or_a_missing_index_loses_no_keys() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = IngestFixture::open(dir.path());
    let key = keyed("k", "b", Some("POST /v1/users"));
    let receipt = fixture.ingest.submit(request(&[Some([1; 16])], key.clone())).await.unwrap();
    let crashed = crash_copy(dir.path());
    let bare = crash_copy(dir.path());
    std::fs::remove_dir_all(bare.path().join("index")).unwrap();
    for dir in [&crashed, &bare] {
        let fixture = IngestFixture::open(dir.path());
        assert_eq!(fixture.ingest.find_claimed(&[1; 16]).await, Ok(Some(receipt.ids[0])));
        let again = fixture.ingest.find_repeat(&request(&[None], key.clone())).await.unwrap();
        assert_eq!(again.unwrap().ids, receipt.ids);
        fixture.close();
    }
    fixture.close();
}

#[tokio::test]
async fn a_claim_leads_to_its_requeued_command() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = IngestFixture::open(dir.path());
    let receipt = fixture.ingest.submit(request(&[Some([1; 16])], None)).await.unwrap();
    let log = Arc::clone(&fixture.ingest.shared.log);
    let record = log.read(Lsn(1)).unwrap().unwrap();
    let dead_letter = DeadLetter {
        lsn: Lsn(1),
        accepted_at: record.at,
        died_at: Timestamp::now(),
        reason: "test".to_owned(),
        attempts: 1,
        payload: record.payload,
    };
    log.store_dead_letters(std::slice::from_ref(&dead_letter)).unwrap();
    let ingest = fixture.ingest.clone();
    let requeued = tokio::task::spawn_blocking(move || ingest.requeue(&dead_letter)).await.unwrap();
    assert_eq!(requeued, Ok(Lsn(2)));
    let known = |fixture: &IngestFixture| {
        let shared = &fixture.ingest.shared;
        shared.index.find(&shared.digests.claim_digest(&[1; 16]), Lsn(0)).unwrap()
    };
    assert_eq!(known(&fixture), IndexLookup::Found(Lsn(2)));
    assert_eq!(fixture.ingest.find_claimed(&[1; 16]).await, Ok(Some(receipt.ids[0])));
    fixture.close();
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let fixture = IngestFixture::open(dir.path());
    assert_eq!(known(&fixture), IndexLookup::Found(Lsn(2)), "a rebuilt index gives the same result");
    fixture.close();
}

/// Submits until the index is complete.
async fn submit(fixture: &IngestFixture, request: Request) -> Receipt {
    loop {
        match fixture.ingest.submit(request.clone()).await {
            Err(SubmitError::IndexRebuilding) => tokio::task::yield_now().await,
            answer => return answer.unwrap(),
        }
    }
}

/// Moves the index of one directory to the log of another.
fn move_index(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to.join("index")).unwrap();
    std::fs::rename(from.join("index"), to.join("index")).unwrap();
}

#[tokio::test]
async fn an_index_newer_than_its_log_hides_no_retry() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = IngestFixture::open(dir.path());
    fixture.ingest.submit(request(&[None], keyed("a", "b", None))).await.unwrap();
    fixture.close();
    let older = crash_copy(dir.path());
    let fixture = IngestFixture::open(dir.path());
    fixture.ingest.submit(request(&[None], keyed("lost", "b", None))).await.unwrap();
    fixture.close();
    // The log is restored from a copy; the index is not.
    move_index(dir.path(), older.path());
    let fixture = IngestFixture::open(older.path());
    let other = submit(&fixture, request(&[None], None)).await;
    let retried = submit(&fixture, request(&[None], keyed("lost", "b", None))).await;
    assert!(
        !retried.replayed && retried.ids != other.ids,
        "got the id of another command, and nothing was appended"
    );
    assert_eq!(fixture.ingest.shared.log.end(), Lsn(4));
    assert!(submit(&fixture, request(&[None], keyed("a", "b", None))).await.replayed);
    fixture.close();
}

#[tokio::test]
async fn an_index_of_another_log_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = IngestFixture::open(dir.path());
    fixture.ingest.submit(request(&[None], keyed("a", "b", None))).await.unwrap();
    fixture.close();
    let other = crash_copy(dir.path());
    for (dir, key) in [(dir.path(), "here"), (other.path(), "there")] {
        let fixture = IngestFixture::open(dir);
        fixture.ingest.submit(request(&[None], keyed(key, "b", None))).await.unwrap();
        fixture.close();
    }
    // Both logs have the same number of records.
    move_index(other.path(), dir.path());
    let fixture = IngestFixture::open(dir.path());
    assert!(submit(&fixture, request(&[None], keyed("here", "b", None))).await.replayed);
    assert!(!submit(&fixture, request(&[None], keyed("there", "b", None))).await.replayed);
    fixture.close();
}

#[tokio::test]
async fn the_index_of_an_earlier_version_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = IngestFixture::open(dir.path());
    let first = fixture.ingest.submit(request(&[None], keyed("a", "b", None))).await.unwrap();
    fixture.close();
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let sled = sled::Config::new().path(dir.path().join("index")).open().unwrap();
    sled.insert("position", &u64::MAX.to_be_bytes()).unwrap();
    drop(sled);
    let fixture = IngestFixture::open(dir.path());
    let again = submit(&fixture, request(&[None], keyed("a", "b", None))).await;
    assert_eq!((again.ids, again.replayed), (first.ids, true));
    fixture.close();
    let names = std::fs::read_dir(dir.path().join("index")).unwrap().map(|entry| entry.unwrap().path());
    assert!(names.collect::<Vec<_>>().iter().all(|path| path.extension().is_some_and(|is| is == "part")));
}

#[tokio::test]
async fn a_key_is_recognised_without_a_submission() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = IngestFixture::open(dir.path());
    let of = |key| request(&[None], key);
    assert_eq!(fixture.ingest.find_repeat(&of(None)).await, Ok(None));
    assert_eq!(fixture.ingest.find_repeat(&of(keyed("k", "b", None))).await, Ok(None));
    assert_eq!(fixture.ingest.shared.log.end(), Lsn(1), "nothing was written");
    let receipt = fixture.ingest.submit(of(keyed("k", "b", None))).await.unwrap();
    let again = fixture.ingest.find_repeat(&of(keyed("k", "b", None))).await.unwrap().unwrap();
    assert_eq!(again, Receipt { replayed: true, ..receipt });
    fixture.close();
}

#[tokio::test]
async fn a_key_with_a_token_accepts_one_body() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = IngestFixture::open(dir.path());
    let of = |principal: &str, body| Request {
        principal: Some(owner(principal, None)),
        ..request(&[None], keyed("k", body, None))
    };
    let first = submit(&fixture, of("ada", "b")).await;
    assert_eq!(submit(&fixture, of("ada", "b")).await.ids, first.ids);
    assert_eq!(fixture.ingest.submit(of("ada", "c")).await, Err(SubmitError::KeyConflict));
    assert_eq!(fixture.ingest.find_repeat(&of("ada", "c")).await, Err(SubmitError::KeyConflict));
    assert!(!submit(&fixture, of("bob", "c")).await.replayed);
    fixture.close();
}

fn owner(name: &str, registered_at: Option<Timestamp>) -> Owner {
    Owner { name: name.into(), registered_at }
}

/// The first versions bound a key to the name alone.
#[tokio::test]
async fn a_key_is_unknown_to_later_users_of_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = IngestFixture::open(dir.path());
    let of = |registered_at, body| Request {
        principal: Some(owner("ada", registered_at)),
        ..request(&[None], keyed("k", body, None))
    };
    let first = submit(&fixture, of(None, "b")).await;
    let (before, after) = (Some(first.accepted_at), Some(Timestamp(first.accepted_at.0 + 1)));
    let again = submit(&fixture, of(before, "b")).await;
    assert_eq!((again.ids, again.replayed), (first.ids.clone(), true), "by the digest of an earlier version");
    assert_eq!(
        fixture.ingest.submit(of(before, "c")).await,
        Err(SubmitError::KeyConflict),
        "by the digest of an earlier version"
    );
    let next = submit(&fixture, of(after, "b")).await;
    assert!(!next.replayed && next.ids != first.ids);
    for _ in 0..2 {
        let again = submit(&fixture, of(after, "b")).await;
        assert_eq!((&again.ids, again.replayed), (&next.ids, true));
        assert_eq!(fixture.ingest.submit(of(after, "c")).await, Err(SubmitError::KeyConflict));
        assert_eq!(fixture.ingest.find_repeat(&of(None, "b")).await.unwrap().unwrap().ids, first.ids);
        fixture.close();
        fixture = IngestFixture::open(dir.path());
    }
    fixture.close();
}

#[tokio::test]
async fn without_a_token_a_key_is_bound_to_its_body() {
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = IngestFixture::open(dir.path());
    let of = |body| request(&[None], keyed("k", body, Some("POST /v1/users")));
    let (one, other) = tokio::join!(submit(&fixture, of("b")), submit(&fixture, of("c")));
    assert!(!one.replayed && !other.replayed && one.ids != other.ids);
    for _ in 0..2 {
        for (body, first) in [("b", &one), ("c", &other)] {
            let again = submit(&fixture, of(body)).await;
            assert_eq!((&again.ids, again.replayed), (&first.ids, true));
            assert_eq!(fixture.ingest.find_repeat(&of(body)).await, Ok(Some(again)));
        }
        fixture.close();
        fixture = IngestFixture::open(dir.path());
    }
    fixture.close();
}

/// The first versions did not bind such a key to its body.
#[tokio::test]
async fn a_legacy_key_without_a_token_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = IngestFixture::open(dir.path());
    let of = |body| request(&[None], keyed("k", body, None));
    let shared = &fixture.ingest.shared;
    let digest = shared.digests.for_request(&of("b"), &keyed("k", "b", None).unwrap()).legacy.unwrap().digest;
    let (reply, answer) = tokio::sync::oneshot::channel();
    let keyed = Some(KeyedRequest { digest, since: Lsn(0) });
    shared.queue.push(CommitJob::Submit { request: of("b"), keyed, traced: None, reply }, 1).unwrap();
    let CommitOutcome::New(first) = answer.await.unwrap().unwrap() else { panic!("a new request") };
    let again = submit(&fixture, of("b")).await;
    assert_eq!((again.ids, again.replayed), (first.ids, true));
    assert!(!submit(&fixture, of("c")).await.replayed);
    fixture.close();
}

#[tokio::test]
async fn a_key_bound_to_a_route_differs_between_routes() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = IngestFixture::open(dir.path());
    let of = |route| request(&[None], keyed("k", "b", route));
    fixture.ingest.submit(of(Some("PUT /v1/users/ada"))).await.unwrap();
    for other in [Some("DELETE /v1/users/ada"), Some("PUT /v1/users/bob"), None] {
        assert_eq!(fixture.ingest.find_repeat(&of(other)).await, Ok(None), "{other:?}");
    }
    // With a route the commands do not matter: the look-up happens before they exist.
    let mut bare = of(Some("PUT /v1/users/ada"));
    bare.commands.clear();
    assert!(fixture.ingest.find_repeat(&bare).await.unwrap().is_some());
    fixture.close();
}

/// Existing logs hold these digests.
#[test]
fn the_digest_of_a_key_without_a_route_never_changes() {
    let digests = RequestDigests::new(&[9; 32]);
    let digests =
        digests.for_request(&request(&[None], keyed("k", "b", None)), &keyed("k", "b", None).unwrap());
    let digest = digests.legacy.unwrap().digest;
    let hex = data_encoding::HEXLOWER;
    assert_eq!(hex.encode(&digest.scope), "3ee9cee145beb1c6750499438926db72");
    assert_eq!(hex.encode(&digest.body), "7ef97f85640d1b555153bec3deec3dab");
}
