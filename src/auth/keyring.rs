//! The active keys and service tokens. They are replaced without a restart when their files change.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::sync::{Mutex, RwLock};

use super::config::{Config, Mode, read, read_private};
use super::keys::Keys;
use super::tokens_file::Tokens;

/// The active keys and tokens. Empty by default.
#[derive(Default)]
pub struct Keyring {
    keys: RwLock<Option<Arc<Keys>>>,
    tokens: RwLock<Arc<Tokens>>,
    /// Digest of the files' contents, to detect changes.
    last_digest: Mutex<[u8; 32]>,
}

/// Contents of the configured files.
struct KeyFileTexts {
    keys: Option<Zeroizing<String>>,
    tokens: Option<String>,
}

impl Keyring {
    /// Reads the files of `[auth]`. Without a key file, open mode signs with an ephemeral key; the other modes do not
    /// sign.
    pub fn open(config: &Config) -> Result<Self, String> {
        let texts = KeyFileTexts::read(config)?;
        let (keys, tokens) = texts.parse()?;
        let keys = match (keys, config.mode) {
            (None, Mode::Open) => Some(Keys::ephemeral().map_err(|error| error.to_string())?),
            (keys, _) => keys,
        };
        Ok(Self {
            keys: RwLock::new(keys.map(Arc::new)),
            tokens: RwLock::new(Arc::new(tokens)),
            last_digest: Mutex::new(texts.digest()),
        })
    }

    /// Reads the files again. Returns `true` if the keys or tokens have changed. After an error the previous ones stay
    /// in use, and the same contents are not reported again. Blocks on disk I/O.
    pub fn reload(&self, config: &Config) -> Result<bool, String> {
        let texts = KeyFileTexts::read(config);
        let digest = texts.as_ref().map_or_else(|why| Sha256::digest(why).into(), KeyFileTexts::digest);
        if std::mem::replace(&mut *self.last_digest.lock(), digest) == digest {
            return Ok(false);
        }
        let (keys, tokens) = texts?.parse()?;
        if let Some(keys) = keys {
            *self.keys.write() = Some(Arc::new(keys));
        }
        *self.tokens.write() = Arc::new(tokens);
        Ok(true)
    }

    /// The keys. `None` if logins are disabled.
    pub fn keys(&self) -> Option<Arc<Keys>> {
        self.keys.read().clone()
    }

    /// The service tokens.
    pub fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.tokens.read())
    }
}

impl KeyFileTexts {
    fn read(config: &Config) -> Result<Self, String> {
        let keys = config.jwt_key_file.as_deref().map(read_private).transpose();
        let tokens = config.tokens_file.as_deref().map(read).transpose();
        Ok(Self {
            keys: keys.map_err(|why| format!("[auth] jwt_key_file: {why}"))?,
            tokens: tokens.map_err(|why| format!("[auth] tokens_file: {why}"))?,
        })
    }

    fn parse(&self) -> Result<(Option<Keys>, Tokens), String> {
        let keys = self.keys.as_ref().map(|text| Keys::parse(text)).transpose();
        let keys = keys.map_err(|error| format!("[auth] jwt_key_file: {error}"))?;
        let tokens = Tokens::parse(self.tokens.as_deref().unwrap_or_default());
        let tokens = tokens.map_err(|error| format!("[auth] tokens_file: {error}"))?;
        Ok((keys, tokens))
    }

    fn digest(&self) -> [u8; 32] {
        let keys = Sha256::digest(self.keys.as_ref().map_or("", |text| text));
        let tokens = Sha256::digest(self.tokens.as_deref().unwrap_or_default());
        Sha256::new().chain_update(keys).chain_update(tokens).finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::auth::{Claims, TokenUse};
    use crate::units::Timestamp;

    const OLD: &str = "b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk";
    const NEW: &str = "bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3";

    #[test]
    fn a_reloaded_key_signs_and_the_old_one_still_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        let config = Config { mode: Mode::Jwt, jwt_key_file: Some(file.clone()), ..Config::default() };
        let token = |ring: &Keyring| {
            let claims = Claims::new("ada", Timestamp::now(), 60);
            ring.keys().unwrap().sign(&claims, TokenUse::Access).unwrap()
        };
        let good = |ring: &Keyring, token: &str| ring.keys().unwrap().verify(token, TokenUse::Access).is_ok();
        fs::write(&file, OLD).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Keyring::open(&config).is_err(), "the file is readable by others");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let ring = Keyring::open(&config).unwrap();
        let old = token(&ring);
        assert_eq!(ring.reload(&config), Ok(false));

        fs::write(&file, format!("{NEW}\n{OLD}")).unwrap();
        assert_eq!(ring.reload(&config), Ok(true));
        let new = token(&ring);
        assert_ne!(old.split('.').next(), new.split('.').next(), "the id of another key");
        assert!(good(&ring, &old) && good(&ring, &new));

        fs::write(&file, "broken").unwrap();
        assert!(ring.reload(&config).is_err());
        assert_eq!(ring.reload(&config), Ok(false), "reported once");
        assert!(good(&ring, &old) && good(&ring, &new), "the previous keys stay in use");

        fs::write(&file, NEW).unwrap();
        assert_eq!(ring.reload(&config), Ok(true));
        assert!(!good(&ring, &old) && good(&ring, &new));
    }
}
