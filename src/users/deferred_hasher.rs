//! Resolves the deferred value of a command whose password is in the log: the same command with the password's hash.

use zeroize::Zeroizing;

use super::hash::{HashError, HashPool, derived_salt};
use super::password;
use crate::command::{Envelope, UserValue};

/// Why no value exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeferredHashError {
    /// Permanent; the reason is from a fixed set.
    Never(&'static str),
    /// Temporary: the daemon is stopping.
    NotNow,
}

/// Hashes logged passwords in the background, ahead of the drain.
#[derive(Clone)]
pub struct DeferredHasher {
    pool: HashPool,
    secret: Zeroizing<[u8; 32]>,
}

impl DeferredHasher {
    /// A hasher for the log with this secret.
    pub fn new(pool: HashPool, log_secret: &[u8; 32]) -> Self {
        Self { pool, secret: Zeroizing::new(*log_secret) }
    }

    /// Starts to compute the value; does not block. `done` receives it on a thread of the pool. The same record always
    /// has the same value.
    pub fn hash_command(
        &self,
        envelope: &Envelope<'_>,
        done: impl FnOnce(Result<Zeroizing<Vec<u8>>, DeferredHashError>) + Send + 'static,
    ) {
        let Ok(mut value) = UserValue::parse(envelope.value) else {
            return done(Err(DeferredHashError::Never("sealed: no user command")));
        };
        let Some(password) = value.password.take() else {
            return done(Err(DeferredHashError::Never("sealed: no password")));
        };
        // Versions before normalisation logged the password as typed.
        let password = password::normalized(password.expose());
        let salt = derived_salt(&self.secret, &envelope.id);
        self.pool.hash_deferred(password, salt, move |hashed| {
            done(match hashed {
                Ok(hash) => {
                    value.password_hash = Some(hash);
                    Ok(value.to_bytes())
                }
                Err(HashError::TooLong) => Err(DeferredHashError::Never("sealed: password too long")),
                Err(HashError::Busy { .. } | HashError::Closing) => Err(DeferredHashError::NotNow),
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::command::CommandId;
    use crate::metrics::Registry;
    use crate::task::FatalSignal;
    use crate::users::Config;
    use crate::users::hash::{HashWorkers, Metrics};

    fn hasher() -> (DeferredHasher, HashWorkers) {
        let config = Config { password_cost: 4, ..Config::default() };
        let metrics = Metrics::register(&Registry::new().unwrap()).unwrap();
        let (pool, workers) = HashPool::start(&config, metrics, &FatalSignal::default()).unwrap();
        (DeferredHasher::new(pool, &[7; 32]), workers)
    }

    fn opened(unsealer: &DeferredHasher, id: u8, value: &str) -> Result<String, DeferredHashError> {
        let envelope = Envelope {
            key: Some(b"ada"),
            sealed: true,
            ..Envelope::new(
                CommandId::from_bytes([id; 25]),
                "user.create",
                "user.commands.v1",
                "application/json",
                value.as_bytes(),
            )
        };
        let (give, get) = mpsc::channel();
        unsealer.hash_command(&envelope, move |made| drop(give.send(made)));
        let made = get.recv_timeout(Duration::from_secs(60)).unwrap();
        made.map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    const SEALED: &str =
        r#"{"name":"ada","email":"a@b.c","nickname":null,"password":"hunter2","actor":null}"#;

    #[test]
    fn the_hash_replaces_only_the_password() {
        let (unsealer, _workers) = hasher();
        let made = opened(&unsealer, 1, SEALED).unwrap();
        assert!(!made.contains("hunter2") && !made.contains("\"password\""), "{made}");
        let (before, after) =
            (UserValue::parse(SEALED.as_bytes()).unwrap(), UserValue::parse(made.as_bytes()).unwrap());
        assert!(bcrypt::verify("hunter2", after.password_hash.as_deref().unwrap()).unwrap());
        assert_eq!(UserValue { password: None, ..before }, UserValue { password_hash: None, ..after });
    }

    #[test]
    fn a_password_logged_as_typed_is_normalised_before_hashing() {
        let (unsealer, _workers) = hasher();
        let made = opened(&unsealer, 1, &SEALED.replace("hunter2", "cafe\u{301}-au-lait")).unwrap();
        let hash = UserValue::parse(made.as_bytes()).unwrap().password_hash.unwrap();
        assert!(bcrypt::verify("caf\u{e9}-au-lait", &hash).unwrap());
    }

    #[test]
    fn the_same_record_always_gets_the_same_hash() {
        let (first, _workers) = hasher();
        // Another run of the daemon.
        let (again, _others) = hasher();
        let made = opened(&first, 1, SEALED);
        assert_eq!(made, opened(&again, 1, SEALED));
        assert_ne!(made, opened(&first, 2, SEALED));
    }

    #[test]
    fn an_invalid_record_gets_a_reason_without_its_content() {
        let (unsealer, workers) = hasher();
        let long = SEALED.replace("hunter2", &"x".repeat(73));
        let none = r#"{"name":"ada","actor":null}"#;
        for (value, reason) in [
            ("{\"hunter2\":1}", "sealed: no user command"),
            (none, "sealed: no password"),
            (&long, "sealed: password too long"),
        ] {
            assert_eq!(opened(&unsealer, 1, value), Err(DeferredHashError::Never(reason)));
        }
        workers.stop(Duration::from_secs(60));
        assert_eq!(opened(&unsealer, 1, SEALED), Err(DeferredHashError::NotNow));
    }
}
