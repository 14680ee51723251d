//! No password or token appears anywhere the process can write.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::accounts::{ADMIN_PASSWORD, SECRET, Tokens, call, guarded, login, refresh};
use crate::test_users::{expect, register_and_wait};
use support::http::Response;

const PLANTED: &str = "planted-hunter2-password";
const NEXT: &str = "planted-hunter3-password";

/// Files below a directory that contain one of the texts.
fn holding(dir: &Path, texts: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, texts));
            continue;
        }
        let bytes = fs::read(&path).unwrap_or_default();
        let holds = |text: &&String| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        found.extend(texts.iter().find(holds).map(|text| format!("{} holds {text}", path.display())));
    }
    found
}

#[test]
fn logs_metrics_responses_and_files_contain_no_secrets() {
    let mut forebay = guarded().set("telemetry.log_level", "trace").set("telemetry.slow_step", "1ms");
    forebay.start();
    let http = &mut forebay.http();
    let user = json!({"name": "ada", "email": "a@example.org", "phone": "+4917000001", "password": PLANTED});
    let mut said: Vec<Response> = vec![register_and_wait(http, &user)];
    expect(&said[0], 201, "");
    let tokens = Tokens::of(&login(http, "ada", PLANTED));
    said.push(login(http, "nobody", PLANTED));
    said.push(login(http, "ada", &format!("{PLANTED}!")));
    said.push(http.post("/login", &format!("{{\"name\":\"ada\",\"password\":\"{PLANTED}\"")).unwrap());
    said.push(http.post("/login", &format!("{{\"name\":\"ada\",\"{PLANTED}\":1}}")).unwrap());
    said.push(call(http, &tokens.access, "GET", "/v1/users/ada", ""));
    said.push(call(http, &format!("{}x", tokens.access), "GET", "/v1/users/ada", ""));
    said.push(refresh(http, &format!("{}x", tokens.refresh)));
    let change = json!({"old_password": PLANTED, "password": NEXT}).to_string();
    said.push(call(http, &tokens.access, "PUT", "/v1/users/ada/password", &change));
    said.push(call(http, &tokens.access, "PUT", "/v1/users/ada/password", &change));
    expect(&said[said.len() - 2], 200, "");
    let after = Tokens::of(&login(http, "ada", NEXT));
    Tokens::of(&refresh(http, &after.refresh));
    let metrics = forebay.admin_http().get("/metrics").unwrap().text();
    let status = forebay.terminate();
    assert!(status.success(), "{}", forebay.log());

    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let mut texts = vec![PLANTED.to_owned(), NEXT.to_owned()];
    texts.extend([signature(&tokens.access), signature(&tokens.refresh)]);
    for answer in &said {
        // The name of an unknown field is repeated in the error, even if the client sent a password as the name.
        let text = answer
            .text()
            .replace(&format!("\"pointer\":\"/{PLANTED}\""), "")
            .replace(&format!("\"field\":\"{PLANTED}\""), "");
        assert!(texts.iter().all(|secret| !text.contains(secret.as_str())), "{text}");
    }
    assert!(
        texts.iter().all(|secret| !metrics.contains(secret.as_str())),
        "the metrics must contain no secret"
    );
    // Written by the test itself.
    fs::remove_file(forebay.dir().join("admin.password")).unwrap();
    fs::remove_file(forebay.dir().join("jwt.keys")).unwrap();
    texts.extend([ADMIN_PASSWORD.to_owned(), SECRET.to_owned()]);
    assert_eq!(holding(forebay.dir(), &texts), [""; 0]);
    assert!(
        texts.iter().all(|secret| !forebay.log().contains(secret.as_str())),
        "the log must contain no secret"
    );
}

#[test]
fn the_daemon_writes_no_core_dump() {
    let mut forebay = guarded();
    forebay.start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", forebay.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    // One byte: too small for a file; the kernel treats it as "do not call the handler" (core(5)).
    assert_eq!(core.split_whitespace().nth(4), Some("1"), "{core}");
}
