use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use super::*;

fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let pairs = variables.iter().map(|&(name, value)| (name.into(), value.into()));
    Config::read(text, environment(pairs), Vec::new())
}

/// The errors, one per line, without the allowed values.
fn mistakes(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let mistakes = read(text, variables).unwrap_err();
    mistakes.iter().map(|mistake| mistake.to_string().split("; allowed").next().unwrap().to_owned()).collect()
}

#[test]
fn all_errors_are_reported_at_once() {
    let text = r#"
        [server]
        listen = 8088
        [wal]
        segment_size = "1KiB"
        segment_max_age = "5 apples"
        sgement_size = "64MiB"
        [whale]
        dir = "x"
    "#;
    assert_eq!(
        mistakes(text, &[]),
        [
            "line 3: [server] listen: found 8088",
            "line 5: [wal] segment_size: found 1KiB",
            "line 6: [wal] segment_max_age: found \"5 apples\"",
            "line 7: [wal] sgement_size: found an unknown key, did you mean `segment_size`?",
            "line 8: [whale]: found an unknown section, did you mean [wal]?",
        ]
    );
    let all = read(text, &[]).unwrap_err().to_string();
    assert!(all.starts_with("5 errors in the configuration\n"), "{all}");
    assert!(all.contains("allowed: a duration such as \"5s\""), "{all}");
    assert!(all.contains("one of `dir`, `segment_size`"), "{all}");
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_both() {
    let text = "[wal]\ndir = \"/file\"\nsegment_size = \"2MiB\"\nreserve_space = \"1MiB\"";
    let variables = [
        ("FOREBAY__WAL__DIR", "/environment"),
        ("FOREBAY__WAL__RETAIN_ACKED_SIZE", "1048576"),
        ("FOREBAY__SERVER__ALLOW_OPEN", "true"),
        ("FOREBAY__SERVER__MAX_BATCH_BODY", "1MiB"),
        ("FOREBAY__KAFKA__CLIENT_ID", "17"),
        ("FOREBAY__KAFKA__PROPERTIES", "{\"socket.keepalive.enable\" = \"true\"}"),
        ("FOREBAY_TEST_KAFKA", "another program's"),
    ];
    let config = read(text, &variables).unwrap();
    assert_eq!(config.wal.dir, Path::new("/environment"));
    assert_eq!(config.wal.segment_size.to_string(), "2MiB");
    assert_eq!(config.wal.retain_acked_size.to_string(), "1MiB");
    assert!(config.server.allow_open);
    assert_eq!(config.kafka.client_id, "17", "typed by the struct, not by its form");
    assert_eq!(config.kafka.properties.iter().count(), 1);

    let mut overrides = environment([("FOREBAY__WAL__DIR".into(), "/environment".into())].into_iter());
    overrides.push(Override {
        section: "wal".to_owned(),
        key: "dir".to_owned(),
        text: "/flag".to_owned(),
        origin: "--dir".to_owned(),
    });
    assert_eq!(Config::read(text, overrides, Vec::new()).unwrap().wal.dir, Path::new("/flag"));
}

#[test]
fn unknown_variables_are_errors_and_suggest_the_closest_key() {
    let variables = [
        ("FOREBAY__WAL__DRI", "/x"),
        ("FOREBAY__WHALE__DIR", "/x"),
        ("FOREBAY__WAL", "/x"),
        ("FOREBAY_WAL_DIR", "/x"),
        ("FOREBAY_COLOUR", "/x"),
        ("FOREBAY__KINDS__NAME", "/x"),
    ];
    let nothing = "found an unknown variable";
    assert_eq!(
        mistakes("", &variables),
        [
            "FOREBAY__WAL__DRI: [wal] dri: found an unknown key, did you mean `dir`?".to_owned(),
            format!("[environment] FOREBAY_COLOUR: {nothing}"),
            format!("[environment] FOREBAY_WAL_DIR: {nothing}, did you mean FOREBAY__WAL__DIR?"),
            format!("[environment] FOREBAY__KINDS__NAME: {nothing}"),
            format!("[environment] FOREBAY__WAL: {nothing}"),
            format!("[environment] FOREBAY__WHALE__DIR: {nothing}, did you mean FOREBAY__WAL__DIR?"),
        ]
    );
}

/// Container platforms set such variables in every container of a namespace with a service called `forebay`.
#[test]
fn variables_of_container_platforms_and_tests_are_ignored() {
    for name in [
        "FOREBAY_SERVICE_HOST",
        "FOREBAY_SERVICE_PORT",
        "FOREBAY_SERVICE_PORT_HTTP",
        "FOREBAY_ADMIN_SERVICE_HOST",
        "FOREBAY_PORT",
        "FOREBAY_PORT_8088_TCP",
        "FOREBAY_PORT_8088_TCP_ADDR",
        "FOREBAY_COMMIT",
        "FOREBAY_TEST_SERVICES",
        "forebay__wal__dir",
    ] {
        assert!(read("", &[(name, "x")]).is_ok(), "{name}");
    }
}

#[test]
fn a_key_of_another_section_is_recognised() {
    assert_eq!(
        mistakes("[wal]\nbrokers = \"a:1\"\n[redis]\nmeaning_of_life = 42", &[]),
        [
            "line 2: [wal] brokers: found an unknown key, did you mean `brokers` of [kafka]?",
            "line 4: [redis] meaning_of_life: found an unknown key",
        ]
    );
}

/// The operator must look at the override, not at the file.
#[test]
fn an_error_in_the_environment_names_its_variable() {
    let text = "[wal]\nsegment_size = \"2MiB\"\nreserve_space = 5.5";
    assert_eq!(
        mistakes(text, &[("FOREBAY__WAL__SEGMENT_SIZE", "1KiB")]),
        [
            "line 3: [wal] reserve_space: found 5.5",
            "FOREBAY__WAL__SEGMENT_SIZE: [wal] segment_size: found 1KiB"
        ]
    );
}

#[test]
fn an_invalid_toml_line_does_not_hide_other_errors() {
    let text = "[server]\nlisten = 127.0.0.1:80\nbody_timeout = 5\n[wal]\ndir = \"a\"\ndir = \"b\"";
    assert_eq!(
        mistakes(text, &[]),
        [
            "line 2: [file] listen: found a line that is not TOML",
            "line 3: [server] body_timeout: found 5",
            "line 6: [file] dir: found a line that is not TOML",
        ]
    );
}

#[test]
fn audit_retention_below_that_of_outcomes_is_an_error() {
    let short = "[database]\naudit_retention = \"29days\"";
    assert_eq!(mistakes(short, &[]), ["line 2: [database] audit_retention: found 29days"]);
    assert_eq!(read("", &[]).unwrap().database.audit_retention.to_string(), "1year");
}

#[test]
fn a_missing_topic_and_an_unknown_key_are_two_errors() {
    let text = "[[kinds]]\nname = \"a\"\ntopic = \"a\"\n[[kinds]]\nname = \"b\"\ntpoic = \"b\"";
    assert_eq!(
        mistakes(text, &[]),
        [
            "line 4: [kinds[1]] topic: found nothing",
            "line 6: [kinds[1]] tpoic: found an unknown key, did you mean `topic`?",
        ]
    );
}

/// A kind that cannot be read is left out of the checks of the others.
#[test]
fn kinds_are_numbered_as_in_the_file() {
    let text = "[[kinds]]\nname = 1\ntopic = \"t\"\n[[kinds]]\nname = \"a b\"\ntopic = \"t\"";
    assert_eq!(
        mistakes(text, &[]),
        ["line 2: [kinds[0]] name: found 1", "line 5: [kinds[1]] name: found `a b`"]
    );
}

#[test]
fn errors_and_printed_configuration_contain_no_secrets() {
    let text = "[kafka.properties]\n\"ssl.key.password\" = \"hunter2\"\n\"ssl.ca.location\" = \"/ca\"";
    let shown = read(text, &[]).unwrap().to_toml().unwrap();
    assert!(!shown.contains("hunter2") && shown.contains("***") && shown.contains("/ca"), "{shown}");

    let wrong = "[kafka]\nsasl_password = \"hunter2\"\n[kafka.properties]\n\"sasl.password\" = [\"hunter2\"]";
    let all = read(wrong, &[]).unwrap_err().to_string();
    assert!(!all.contains("hunter2"), "{all}");
    for line in ["sasl_password = hunter2", "sasl_password \"hunter2\"", "password: hunter2==", "hunter2"] {
        let broken = read(&format!("[kafka]\n{line}"), &[]).unwrap_err().to_string();
        assert!(!broken.contains("hunter2") && broken.contains("line 2"), "{broken}");
    }
}

#[test]
fn errors_and_printed_configuration_mask_the_password_in_a_url() {
    let text = "[database]\nurl = \"mysql://forebay:hunter2@db/users\"";
    let shown = read(text, &[]).unwrap().to_toml().unwrap();
    assert!(!shown.contains("hunter2") && shown.contains("mysql://forebay:***@db/users"), "{shown}");

    for url in ["mysqll://forebay:hunter2@db/users", "mysql://forebay:hunter2@db"] {
        let mistakes = read("", &[("FOREBAY__DATABASE__URL", url)]).unwrap_err().to_string();
        assert!(!mistakes.contains("hunter2") && mistakes.contains("[database] url"), "{mistakes}");
    }
    let typed =
        read("[database]\nurl = [\"mysql://forebay:hunter2@db/users\"]", &[]).unwrap_err().to_string();
    assert!(!typed.contains("hunter2"), "{typed}");
}

#[test]
fn an_open_listener_must_be_on_loopback_unless_allowed() {
    let text = "[server]\nlisten = \"0.0.0.0:8088\"\nadmin_listen = \"[::]:9088\"";
    assert_eq!(
        mistakes(text, &[]),
        ["line 2: [server] listen: found 0.0.0.0:8088", "line 3: [server] admin_listen: found [::]:9088"]
    );
    let (open, open_admin) =
        (("FOREBAY__SERVER__ALLOW_OPEN", "true"), ("FOREBAY__SERVER__ALLOW_OPEN_ADMIN", "true"));
    assert_eq!(mistakes(text, &[open]), ["line 3: [server] admin_listen: found [::]:9088"]);
    assert_eq!(mistakes(text, &[open_admin]), ["line 2: [server] listen: found 0.0.0.0:8088"]);
    assert!(read(text, &[open, open_admin]).is_ok());
}

#[test]
fn open_mode_behind_a_proxy_is_an_error() {
    let proxies = "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n";
    assert_eq!(mistakes(proxies, &[]), ["line 2: [server] trusted_proxies: found 10.0.0.0/8, ::1"]);
    let guarded = format!("{proxies}allow_open = true\n[auth]\nmode = \"jwt\"\n[kafka]\nbrokers = \"a:1\"");
    assert_eq!(
        mistakes(&guarded, &[]),
        ["line 4: [auth] jwt_key_file: found nothing"],
        "only the key is missing"
    );
}

#[test]
fn authentication_with_an_embedded_broker_is_an_error() {
    let mode = |mode: &str| mistakes(&format!("[auth]\nmode = \"{mode}\""), &[]);
    assert_eq!(
        mode("jwt"),
        ["line 1: [auth] jwt_key_file: found nothing", "[kafka] brokers: found embedded"]
    );
    assert_eq!(
        mode("token"),
        ["line 1: [auth] tokens_file: found nothing", "[kafka] brokers: found embedded"]
    );
}

#[test]
fn allowed_hosts_are_names_from_the_file_or_the_environment() {
    let variable = |value| read("", &[("FOREBAY__SERVER__ALLOWED_HOSTS", value)]);
    let config = variable("[\"a.example\", \"B.example.\"]").unwrap();
    assert!(config.to_toml().unwrap().contains("allowed_hosts = [\"a.example\", \"b.example\"]"));
    let wrong = variable("[\"a.example:80\"]").unwrap_err().to_string();
    assert!(wrong.contains("[server] allowed_hosts") && wrong.contains("without a port"), "{wrong}");
}

#[test]
fn shutdown_grace_stays_below_the_timeout_of_the_service_manager() {
    assert_eq!(
        mistakes("[server]\nshutdown_grace = \"61s\"", &[]),
        ["line 2: [server] shutdown_grace: found 1m 1s"]
    );
}

#[test]
fn exactly_once_needs_real_brokers_and_all_replicas() {
    let once = "[drain]\ndelivery = \"exactly-once\"\n[kafka]\nbrokers = ";
    let mistake = ["line 2: [drain] delivery: found exactly-once"];
    assert_eq!(mistakes(&format!("{once}\"embedded\""), &[]), mistake);
    assert_eq!(mistakes(&format!("{once}\"a:1\"\nacks = 1"), &[]), mistake);
    let token = "security_protocol = \"sasl_ssl\"\nsasl_mechanism = \"OAUTHBEARER\"\nsasl_token_file = \"Cargo.toml\"";
    assert_eq!(mistakes(&format!("{once}\"a:1\"\n{token}"), &[]), mistake);
    assert!(read(&format!("{once}\"a:1\""), &[]).is_ok());
}

#[test]
fn deferred_password_hashing_needs_an_encrypted_log() {
    let deferred = "[users]\npassword_hashing = \"deferred\"";
    assert_eq!(mistakes(deferred, &[]), ["line 2: [users] password_hashing: found deferred"]);
    let key = "[wal]\nencryption_key_file = \"/etc/forebay/wal.key\"";
    let shown = read(&format!("{deferred}\n{key}"), &[]).unwrap().to_toml().unwrap();
    assert!(
        shown.contains("password_hashing = \"deferred\"")
            && shown.contains("password_cost = 10")
            && shown.contains("credential_cache_size = 50000"),
        "{shown}"
    );
}

#[test]
fn the_examples_of_the_production_file_are_valid() {
    let text = include_str!("../../config/production.toml");
    assert!(!read(text, &[]).unwrap().embedded());
    // With every setting enabled, the only errors are the missing files.
    let on = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    let all: Vec<_> = text.lines().map(on).collect();
    let wrong = read(&all.join("\n"), &[]).unwrap_err();
    for mistake in wrong.iter() {
        assert!(mistake.to_string().contains("/etc/forebay/"), "{mistake}");
    }
}

/// All keys of a configuration with their values, `null` if not set. Inner tables count as one value.
fn keys(config: &Config) -> BTreeMap<(String, String), serde_json::Value> {
    let serde_json::Value::Object(sections) = serde_json::to_value(config).unwrap() else { unreachable!() };
    let mut keys = BTreeMap::new();
    for (section, content) in sections {
        let table = if content.is_array() { content[0].clone() } else { content };
        let serde_json::Value::Object(table) = table else { unreachable!() };
        keys.extend(table.into_iter().map(|(key, value)| ((section.clone(), key), value)));
    }
    keys
}

/// Keys that the file contains as comments, `# key = value`, with their sections.
fn commented() -> Vec<(String, String, String)> {
    let mut section = String::new();
    let mut found = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).to_owned();
        }
        let Some((key, value)) = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")) else {
            continue;
        };
        if key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            found.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    found
}

#[test]
fn the_default_file_lists_exactly_the_keys_with_their_defaults() {
    let effective = read("", &[]).unwrap();
    let mut by_code = effective.clone();
    by_code.server = Default::default();
    by_code.auth = Default::default();
    by_code.wal = Default::default();
    by_code.drain = Default::default();
    by_code.kafka = Default::default();
    by_code.redis = Default::default();
    by_code.rate_limit = Default::default();
    by_code.users = Default::default();
    by_code.login = Default::default();
    by_code.consumer = Default::default();
    by_code.database = Default::default();
    by_code.alerts = Default::default();
    by_code.telemetry = Default::default();
    assert_eq!(keys(&effective), keys(&by_code), "the values of the file are the defaults of the code");

    let written: toml::Table = DEFAULTS.parse().unwrap();
    let mut named = BTreeSet::new();
    for (section, content) in &written {
        let table = content.as_table().or_else(|| content[0].as_table()).unwrap();
        named.extend(table.keys().map(|key| (section.clone(), key.clone())));
    }
    for (section, key, value) in commented() {
        assert!(named.insert((section.clone(), key.clone())), "{section}.{key} appears twice");
        let value = format!("value = {value}").parse::<toml::Table>().unwrap()["value"].clone();
        let mut table = written[&section].clone();
        match &mut table {
            Value::Array(items) => items[0].as_table_mut().unwrap().insert(key, value),
            other => other.as_table_mut().unwrap().insert(key, value),
        };
        let text = toml::to_string(&toml::Table::from_iter([(section, table)])).unwrap();
        let (_, mistakes, _) = Config::parse(&text, Vec::new(), Vec::new());
        assert_eq!(mistakes, [], "the example can be read");
    }
    assert_eq!(named, keys(&effective).into_keys().collect::<BTreeSet<_>>());
}

#[test]
fn every_key_of_the_default_file_is_explained() {
    let mut explained = false;
    for line in DEFAULTS.lines() {
        let starts_group = line.starts_with('[') || line.is_empty();
        let is_key = !line.starts_with('#') && line.contains(" = ");
        assert!(!is_key || explained, "no comment above: {line}");
        // Two keys may share a comment, so a key does not end it.
        explained = !starts_group && (explained || line.starts_with('#'));
    }
}

#[test]
fn a_value_of_a_wrong_type_is_one_understandable_error() {
    for (section, key) in keys(&read("", &[]).unwrap()).into_keys().filter(|(section, _)| section != "kinds")
    {
        let text = format!("[{section}]\n{key} = [[1.5]]");
        let (_, mistakes, _) = Config::parse(&text, Vec::new(), Vec::new());
        let [mistake] = mistakes.as_slice() else { panic!("{section}.{key}: {mistakes:?}") };
        assert_eq!((&mistake.section, &mistake.key), (&section, &key));
        // The message of serde for an untagged enum without `expecting`.
        assert!(!mistake.allowed.contains("untagged"), "{mistake}");
    }
}

/// Found by its fuzz target: each bad line caused another parse of the whole file, so a log file given by mistake kept
/// a start busy for hours.
#[test]
fn a_file_of_another_format_is_rejected_after_few_lines() {
    let text = "what is this\n".repeat(100_000);
    let mistakes = mistakes(&text, &[]);
    assert_eq!(mistakes.len(), 21);
    assert_eq!(mistakes.last().unwrap(), "[file]: found more than 20 lines that are not TOML");
}

#[test]
fn changes_lists_the_keys_that_differ() {
    let (old, new) =
        ("[wal]\nsegment_size = \"8MiB\"", "[server]\ntls_cert_file = \"x\"\ntls_key_file = \"y\"");
    let (old, new) = (read(old, &[]).unwrap(), read(new, &[]).unwrap());
    assert_eq!(old.changes(&old).unwrap(), [""; 0]);
    assert_eq!(
        old.changes(&new).unwrap(),
        ["server.tls_cert_file", "server.tls_key_file", "wal.segment_size"]
    );
}

#[test]
fn an_invalid_endpoint_or_ratio_is_reported_without_its_password() {
    let both = "[telemetry]\notlp_endpoint = \"http://me:secret@x\"\nsample_ratio = 5";
    let found = mistakes(both, &[]);
    assert_eq!(
        found,
        [
            "line 2: [telemetry] otlp_endpoint: found a URL with a user",
            "line 3: [telemetry] sample_ratio: found 5"
        ]
    );
    let nan = mistakes("[telemetry]\nsample_ratio = nan", &[]);
    assert_eq!(nan, ["line 2: [telemetry] sample_ratio: found NaN"]);
    let telemetry = "[telemetry]\notlp_endpoint = \"http://localhost:4318\"\nsample_ratio = 1";
    assert_eq!(read(telemetry, &[]).unwrap().telemetry.sample_ratio.0, 1.0);
    let variables = [("FOREBAY__TELEMETRY__SAMPLE_RATIO", "0.5")];
    assert_eq!(read(telemetry, &variables).unwrap().telemetry.sample_ratio.0, 0.5);
}
