//! Profiles, read by Go's pprof.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::LONG;
use support::process::Forebay;
use support::services::available;
use support::wait;

fn forebay() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay"))
}

/// Runs `go tool pprof` with these arguments and returns its output. Go builds the tool at its first use and caches it.
fn go_pprof(arguments: &[&str]) -> Result<String, String> {
    let scratch = tempfile::tempdir().unwrap();
    let mut go = Command::new("go");
    go.args(["tool", "pprof"]).args(arguments).env("PPROF_TMPDIR", scratch.path());
    let output = go.output().map_err(|error| format!("go: {error}"))?;
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// Whether Go's tool is available. If not, reports what is not checked.
fn has_go(test: &str) -> bool {
    available(test, "go tool pprof", go_pprof(&["-help"])).is_some()
}

/// Saves the profile at a path of the admin listener to a file.
fn save_profile(forebay: &Forebay, path: &str) -> String {
    let answer = forebay.admin_http().get(path).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body.starts_with(&[0x1f, 0x8b]), "the profile is compressed");
    let file = forebay.dir().join("profile.pb.gz");
    fs::write(&file, &answer.body).unwrap();
    file.display().to_string()
}

/// Sends commands while `work` runs.
fn under_load<T>(forebay: &Forebay, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut http = forebay.http();
                while !over.load(Ordering::Relaxed) {
                    let body = r#"{"id":"o-1","amount":1}"#;
                    assert_eq!(http.post("/v1/commands/order.create", body).unwrap().status, 202);
                }
            });
        }
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

#[test]
fn a_cpu_profile_under_load_names_functions_and_threads() {
    if !has_go("a_cpu_profile_under_load_names_functions_and_threads") {
        return;
    }
    let mut forebay = forebay();
    forebay.start();
    let file = under_load(&forebay, || save_profile(&forebay, "/debug/pprof/profile?seconds=3"));
    let raw = go_pprof(&["-raw", &file]).unwrap();
    for part in ["PeriodType: cpu nanoseconds", "Duration: 3s", "samples/count cpu/nanoseconds", "thread:["] {
        assert!(raw.contains(part), "{part} is missing in\n{raw}");
    }
    // The functions in a stack depend on frame pointers; the standard library has them.
    let top = go_pprof(&["-top", "-symbolize=none", "-nodecount=1000", &file]).unwrap();
    let named = top.lines().skip_while(|line| !line.contains("flat%")).skip(1).count();
    assert!(top.contains("Type: cpu") && named > 3, "{top}");
    // The profile is finished: sampling has stopped, and the next profile may begin.
    save_profile(&forebay, "/debug/pprof/profile?seconds=1");
    assert!(forebay.terminate().success());
}

#[test]
fn only_one_profile_runs_and_ends_with_its_client() {
    let mut forebay = forebay();
    forebay.start();
    let get = |path: &str| {
        let answer = forebay.admin_http().get(path).unwrap();
        (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
    };
    for wrong in ["seconds=0", "seconds=61", "seconds=x", "seconds=-1", "second=1"] {
        assert_eq!(
            get(&format!("/debug/pprof/profile?{wrong}")),
            (400, "bad_parameter".to_owned()),
            "{wrong}"
        );
    }
    let mut first = support::http::Connection::open(&forebay.admin_address()).unwrap();
    first.send(b"GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    wait::until_true("the profile runs", LONG, || forebay.log().contains("operator.cpu_profile_taken"));
    assert_eq!(get("/debug/pprof/profile?seconds=1"), (409, "profile_running".to_owned()));
    drop(first);
    wait::until_true("the next one may begin long before the first would have ended", LONG / 2, || {
        forebay.admin_http().get("/debug/pprof/profile?seconds=1").unwrap().status == 200
    });
}

#[test]
fn a_heap_profile_needs_an_allocator_that_samples() {
    if !has_go("a_heap_profile_needs_an_allocator_that_samples") {
        return;
    }
    let mut off = forebay();
    off.start();
    let answer = off.admin_http().get("/debug/pprof/heap").unwrap();
    assert_eq!((answer.status, answer.json()["code"].as_str()), (409, Some("heap_profiling_off")));
    if !cfg!(feature = "jemalloc") {
        assert!(answer.text().contains("feature `jemalloc`"), "{}", answer.text());
        return;
    }
    assert!(answer.text().contains("_RJEM_MALLOC_CONF=prof:true"), "{}", answer.text());

    let mut on = forebay().env("_RJEM_MALLOC_CONF", "prof:true,lg_prof_sample:12");
    on.start();
    let file = under_load(&on, || save_profile(&on, "/debug/pprof/heap"));
    let raw = go_pprof(&["-raw", "-symbolize=none", &file]).unwrap();
    assert!(raw.contains("inuse_space/bytes") && Path::new(&file).exists(), "{raw}");
    let top = go_pprof(&["-top", "-symbolize=none", &file]).unwrap();
    assert!(top.contains("forebay"), "{top}");
    assert!(on.terminate().success());
}
