//! Authentication of a token: from the cache, and by its signature.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay::auth;
use forebay::auth::{
    Authenticator, AuthenticatorParts, CacheGenerations, Claims, Keyring, Keys, Mode, TokenUse,
};
use forebay::metrics::Registry;
use forebay::units::Timestamp;

use crate::measure::{Limit, Outcome, median, median_us};

const PAIRS: usize = 9;
const CALLS: u32 = 2000;
/// Different tokens, as on a busy daemon.
const TOKENS: usize = 500;

/// The cache must be at least 5 times as fast as an Ed25519 signature, which the documentation recommends. A secret
/// (HS256) is measured for information: its signature costs little more than the lookup.
pub fn measure() -> Vec<Outcome> {
    let ed25519 = openssl(&["genpkey", "-algorithm", "ed25519"]);
    let secret = openssl(&["rand", "-base64", "48"]);
    vec![
        compare("token: from the cache, times faster than Ed25519", &ed25519, Limit::AtLeast(5.0)),
        compare("token: from the cache, times faster than HS256", &secret, Limit::None),
    ]
}

fn openssl(arguments: &[&str]) -> String {
    let made = Command::new("openssl").args(arguments).output().expect("openssl");
    assert!(made.status.success());
    String::from_utf8(made.stdout).expect("text")
}

fn compare(what: &'static str, key: &str, limit: Limit) -> Outcome {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), key).expect("a key file");
    let config = auth::Config {
        mode: Mode::Jwt,
        jwt_key_file: Some(file.path().to_owned()),
        ..auth::Config::default()
    };
    let keyring = Arc::new(Keyring::open(&config).expect("a key"));
    let keys = keyring.keys().expect("a key");
    let metrics = auth::Metrics::register(&Registry::new().expect("metrics")).expect("metrics");
    let generations = CacheGenerations::new(10_000);
    let authenticator =
        Authenticator::new(AuthenticatorParts { config, keyring, generations, db: None, metrics: &metrics });
    let tokens: Vec<String> = (0..TOKENS).map(|n| token(&keys, n)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let cached = || {
        runtime.block_on(async {
            let began = Instant::now();
            for n in 0..CALLS as usize {
                authenticator.principal(&tokens[n % TOKENS]).await.expect("a good token");
            }
            began.elapsed() / CALLS
        })
    };
    let verified = || {
        let began = Instant::now();
        for n in 0..CALLS as usize {
            keys.verify(&tokens[n % TOKENS], TokenUse::Access).expect("a good token");
        }
        began.elapsed() / CALLS
    };
    cached();
    let turns: Vec<(Duration, Duration)> = (0..PAIRS).map(|_| (cached(), verified())).collect();
    let (cached, verified): (Vec<Duration>, Vec<Duration>) = turns.iter().copied().unzip();
    Outcome {
        what,
        pairs: turns.iter().map(|(cached, verified)| verified.as_secs_f64() / cached.as_secs_f64()).collect(),
        limit,
        figures: format!(
            "{:.2} us, {:.2} us; slowest turn {:.2} us",
            median_us(&cached),
            median_us(&verified),
            cached.iter().max().map_or(0.0, |slowest| median(&[slowest.as_secs_f64() * 1e6]))
        ),
    }
}

fn token(keys: &Keys, number: usize) -> String {
    let claims = Claims::new(&format!("user-{number}"), Timestamp::now(), 3600);
    keys.sign(&claims, TokenUse::Access).expect("a token")
}
