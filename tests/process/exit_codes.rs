//! Exit codes of the commands.

use std::fs;
use std::net::TcpListener;

use crate::LONG;
use support::process::Forebay;

fn forebay() -> Forebay {
    Forebay::new(env!("CARGO_BIN_EXE_forebay"))
}

#[test]
fn each_failure_to_start_has_its_exit_code() {
    let code = |forebay: &mut Forebay| {
        forebay.launch();
        forebay.wait(LONG).code()
    };
    assert_eq!(code(&mut forebay().args(&["sevre"])), Some(64), "usage");
    assert_eq!(code(&mut forebay().set("wal.dri", "x")), Some(64), "configuration");

    let mut first = forebay();
    first.start();
    let mut second = forebay().set("wal.dir", first.wal_dir().display().to_string());
    assert_eq!(code(&mut second), Some(73), "the directory is locked");
}

#[test]
fn a_port_in_use_is_detected_before_the_log_opens() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["listen", "admin_listen"] {
        let mut forebay = forebay().set(&format!("server.{key}"), address.clone());
        forebay.launch();
        assert_eq!(forebay.wait(LONG).code(), Some(1));
        let said = forebay.log();
        assert!(said.contains(&format!("[server] {key}: cannot listen on {address}")), "{said}");
        assert!(!forebay.wal_dir().exists(), "the log's directory was created");
    }
}

#[test]
fn the_manual_and_completions_need_no_valid_configuration() {
    let home = tempfile::tempdir().unwrap();
    let pages = home.path().join("made/for/them");
    let mut man = forebay().args(&["man", pages.to_str().unwrap()]).set("wal.dri", "x");
    man.launch();
    assert!(man.wait(LONG).success(), "{}", man.log());
    for page in ["forebay.1", "forebay-serve.1", "forebay-drain.1", "forebay-check-config.1"] {
        let text = fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let mut completions = forebay().args(&["completions", shell]).set("wal.dri", "x");
        completions.launch();
        assert!(completions.wait(LONG).success(), "{}", completions.log());
        assert!(completions.log().contains("check-config"), "{shell}: {}", completions.log());
    }
}

#[test]
fn check_config_prints_the_effective_configuration_or_every_error() {
    let mut right = forebay().args(&["check-config"]).set("kafka.client_id", "mine");
    right.launch();
    assert!(right.wait(LONG).success());
    assert!(right.log().contains("client_id = \"mine\""), "{}", right.log());

    let mut wrong = forebay().args(&["check-config"]).set("kafka.acks", "2").set("wal.dri", "x");
    wrong.launch();
    assert_eq!(wrong.wait(LONG).code(), Some(64));
    let said = wrong.log();
    assert!(said.contains("[kafka] acks:") && said.contains("[wal] dri:"), "{said}");
}
