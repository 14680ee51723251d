//! The embedded store: restarts, and sudden ends.

use std::fs;
use std::time::Duration;

use forebay::kv::Kv;

use super::test_store::{TTL, until};
use support::scratch;

#[tokio::test]
async fn values_survive_a_restart() {
    let dir = scratch::dir("kv");
    Kv::embedded(dir.path()).unwrap().set("a", b"1", TTL).await.unwrap();
    // The directory is unlocked as soon as the last handle is dropped.
    let kv = Kv::embedded(dir.path()).unwrap();
    assert_eq!(kv.get("a").await.unwrap(), Some(b"1".to_vec()));
}

#[tokio::test]
async fn flushed_values_are_on_disk_while_the_store_is_open() {
    let (dir, copy) = (scratch::dir("kv"), scratch::dir("kv-copy"));
    let kv = Kv::embedded(dir.path()).unwrap();
    kv.set("a", b"1", TTL).await.unwrap();
    kv.flush().await.unwrap();
    // The state that a process leaves if it ends now.
    scratch::copy(dir.path(), copy.path());
    let found = Kv::embedded(copy.path()).unwrap();
    assert_eq!(found.get("a").await.unwrap(), Some(b"1".to_vec()));
    drop(kv);
}

#[tokio::test]
async fn a_damaged_store_is_moved_aside_and_replaced() {
    let dir = scratch::dir("kv");
    Kv::embedded(dir.path()).unwrap().set("a", b"1", TTL).await.unwrap();
    for round in 0..2 {
        for entry in fs::read_dir(dir.path().join("kv")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::write(path, b"this is no store").unwrap();
            }
        }
        let kv = Kv::embedded(dir.path()).unwrap();
        assert_eq!(kv.get("a").await.unwrap(), None, "round {round}");
        kv.set("a", b"1", TTL).await.unwrap();
        assert!(dir.path().join("kv.broken").is_dir());
    }
}

#[test]
fn an_unusable_directory_is_an_error_not_a_panic() {
    let dir = scratch::dir("kv");
    fs::write(dir.path().join("file"), b"").unwrap();
    assert!(Kv::embedded(&dir.path().join("file")).is_err());
}

#[tokio::test]
async fn expired_values_are_deleted_while_others_are_written() {
    let dir = scratch::dir("kv");
    {
        let kv = Kv::embedded(dir.path()).unwrap();
        let brief: Vec<_> = (0..400)
            .map(|number| (format!("brief:{number}"), vec![0; 8], Duration::from_millis(1)))
            .collect();
        kv.set_all(&brief).await.unwrap();
        until("their end", async || kv.get("brief:399").await.unwrap().is_none()).await;
        for number in 0..100 {
            kv.set(&format!("kept:{number}"), b"x", TTL).await.unwrap();
        }
    }
    let db = sled::Config::new().path(dir.path().join("kv")).open().unwrap();
    assert_eq!(db.open_tree("values").unwrap().len(), 100);
    assert_eq!(db.open_tree("ends").unwrap().len(), 100);
}
