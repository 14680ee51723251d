//! The keys and tokens that count now; replaced when their files change, without a restart.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::sync::{Mutex, RwLock};

use super::config::{Config, Mode, read, read_private};
use super::keys::Keys;
use super::tokens_file::Tokens;

/// What counts now; by default nothing.
#[derive(Default)]
pub struct Keyring {
    keys: RwLock<Option<Arc<Keys>>>,
    tokens: RwLock<Arc<Tokens>>,
    /// A digest of what the files held, to see whether they have changed.
    seen: Mutex<[u8; 32]>,
}

/// The texts of the files that there are.
struct KeyFileTexts {
    keys: Option<Zeroizing<String>>,
    tokens: Option<String>,
}

impl Keyring {
    /// Reads the files of `[auth]`. Without a file of keys only open mode signs, with a key of its own that nobody needs
    /// to know.
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
            seen: Mutex::new(texts.digest()),
        })
    }

    /// Reads the files again. Says whether something else counts from now on; after an error what counted still does,
    /// and the same files are not complained of again. Blocks for the disk.
    pub fn reload(&self, config: &Config) -> Result<bool, String> {
        let texts = KeyFileTexts::read(config);
        let digest = texts.as_ref().map_or_else(|why| Sha256::digest(why).into(), KeyFileTexts::digest);
        if std::mem::replace(&mut *self.seen.lock(), digest) == digest {
            return Ok(false);
        }
        let (keys, tokens) = texts?.parse()?;
        if let Some(keys) = keys {
            *self.keys.write() = Some(Arc::new(keys));
        }
        *self.tokens.write() = Arc::new(tokens);
        Ok(true)
    }

    /// The keys; none where nobody logs in.
    pub fn keys(&self) -> Option<Arc<Keys>> {
        self.keys.read().clone()
    }

    /// The tokens of services.
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
    fn a_new_key_signs_after_a_reload_and_what_the_old_one_signed_is_good_as_long_as_it_stays() {
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
        assert!(Keyring::open(&config).is_err(), "everybody may read it");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let ring = Keyring::open(&config).unwrap();
        let old = token(&ring);
        assert_eq!(ring.reload(&config), Ok(false));

        fs::write(&file, format!("{NEW}\n{OLD}")).unwrap();
        assert_eq!(ring.reload(&config), Ok(true));
        let new = token(&ring);
        assert_ne!(old.split('.').next(), new.split('.').next(), "another key's name");
        assert!(good(&ring, &old) && good(&ring, &new));

        fs::write(&file, "broken").unwrap();
        assert!(ring.reload(&config).is_err());
        assert_eq!(ring.reload(&config), Ok(false), "said once");
        assert!(good(&ring, &old) && good(&ring, &new), "what counted still does");

        fs::write(&file, NEW).unwrap();
        assert_eq!(ring.reload(&config), Ok(true));
        assert!(!good(&ring, &old) && good(&ring, &new));
    }
}
