//! Keys that sign and verify tokens.
//!
//! A token names its key (`kid`), and each key has a single algorithm. All other requests in a header are ignored. This
//! defeats `alg: none`, a public key used as an HMAC secret, and keys embedded in a header (RFC 8725).

use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use zeroize::Zeroizing;

use super::claims::{Claims, ISSUER, TokenUse};
use crate::command::{MAX_ACTOR_CHARS, is_storable_actor};

/// Minimum key length for HMAC-SHA-256 (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// Tolerated clock difference between daemons. Synchronised clocks differ by less.
const LEEWAY_SECONDS: u64 = 5;
/// Maximum token length. forebay's own tokens have less than 600 bytes.
const MAX_TOKEN_BYTES: usize = 4096;
/// Maximum number of keys. More are a configuration error: every key costs time at start, and no rotation needs as
/// many.
const MAX_KEYS: usize = 16;

/// Keys of a file. The first one signs; all of them verify.
pub struct Keys(Vec<Key>);

struct Key {
    id: String,
    algorithm: Algorithm,
    signing: Option<EncodingKey>,
    verifying: DecodingKey,
    validation: Validation,
}

/// Error in a key file. Never contains key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither a PEM block nor a secret.
    #[error(
        "key {0}: expected a PEM block (Ed25519, RSA of 2048 bits or more, or P-256), or a line with 32 bytes or more \
         in hexadecimal or base64"
    )]
    Unreadable(usize),
    /// The first key cannot sign.
    #[error("the first key must be a private key or a secret, because it signs")]
    NoSigningKey,
    /// The file holds too many keys.
    #[error("at most {MAX_KEYS} keys")]
    TooMany,
}

/// Why a token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was valid earlier.
    #[error("the token has expired")]
    Expired,
    /// The token is valid, but its subject cannot be stored with a command. Only the bearer of a signed token gets this
    /// error.
    #[error("the token's `sub` is not 1 to {MAX_ACTOR_CHARS} characters, or holds a control character")]
    UserChanged,
    /// Any other reason. Details would only help an attacker.
    #[error("the token is not valid")]
    Invalid,
}

impl Keys {
    /// Reads PEM blocks, and secrets as lines of hexadecimal or base64 outside the blocks. Empty lines and lines that
    /// begin with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, written) in split_keys(text).iter().enumerate() {
            let key = Key::read(written).ok_or(KeyError::Unreadable(index + 1))?;
            // A private key and its own public key have the same id.
            if keys.iter().all(|other| other.id != key.id) {
                keys.push(key);
            }
        }
        match keys.first() {
            _ if keys.len() > MAX_KEYS => Err(KeyError::TooMany),
            Some(first) if first.signing.is_some() => Ok(Self(keys)),
            _ => Err(KeyError::NoSigningKey),
        }
    }

    /// Creates a random key. Tokens signed with it become invalid at a restart.
    pub fn ephemeral() -> Result<Self, getrandom::Error> {
        let mut secret = [0; MIN_SECRET_BYTES];
        getrandom::fill(&mut secret)?;
        Ok(Self(Key::secret(&secret).into_iter().collect()))
    }

    /// Signs a token with these claims. `None` if the key cannot sign.
    pub fn sign(&self, claims: &Claims, for_: TokenUse) -> Option<String> {
        let key = self.0.first()?;
        let mut header = Header::new(key.algorithm);
        header.typ = Some(for_.header_type().to_owned());
        header.kid = Some(key.id.clone());
        jsonwebtoken::encode(&header, claims, key.signing.as_ref()?).ok()
    }

    /// Verifies a token for this use. Returns its claims if one of the keys has signed it and it is valid now.
    pub fn verify(&self, token: &str, for_: TokenUse) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let named = |key: &&Key| header.kid.as_deref() == Some(&key.id);
        let key = self.0.iter().find(named).ok_or(TokenError::Invalid)?;
        let is_for_this = header.typ.as_deref().is_some_and(|typ| for_.matches_header(typ));
        // `crit` lists extensions that the recipient must support (RFC 7515, section 4.1.11). forebay supports none.
        if header.alg != key.algorithm || !is_for_this || header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &key.verifying, &key.validation);
        let claims = decoded.map(|token| token.claims).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => TokenError::Expired,
            _ => TokenError::Invalid,
        })?;
        let has_subject = !claims.sub.is_empty() && is_storable_actor(&claims.sub);
        has_subject.then_some(claims).ok_or(TokenError::UserChanged)
    }
}

impl Key {
    fn read(written: &str) -> Option<Self> {
        match written.starts_with(BEGIN) {
            true if written.contains("PRIVATE KEY-----") => Self::private(written.as_bytes()),
            true => Self::public(written.as_bytes()),
            false => Self::secret(&secret_bytes(written)?),
        }
    }

    fn secret(bytes: &[u8]) -> Option<Self> {
        let key = EncodingKey::from_secret(bytes);
        (bytes.len() >= MIN_SECRET_BYTES).then_some(key).and_then(|key| Self::signing(key, Algorithm::HS256))
    }

    fn private(pem: &[u8]) -> Option<Self> {
        let ed = || Self::signing(EncodingKey::from_ed_pem(pem).ok()?, Algorithm::EdDSA);
        let ec = || Self::signing(EncodingKey::from_ec_pem(pem).ok()?, Algorithm::ES256);
        let rsa = || Self::signing(EncodingKey::from_rsa_pem(pem).ok()?, Algorithm::RS256);
        ed().or_else(ec).or_else(rsa)
    }

    fn public(pem: &[u8]) -> Option<Self> {
        let ed = || Self::verifying(DecodingKey::from_ed_pem(pem).ok()?, Algorithm::EdDSA);
        let ec = || Self::verifying(DecodingKey::from_ec_pem(pem).ok()?, Algorithm::ES256);
        let rsa = || Self::verifying(DecodingKey::from_rsa_pem(pem).ok()?, Algorithm::RS256);
        ed().or_else(ec).or_else(rsa)
    }

    /// Accepts only a key that verifies its own signatures.
    fn signing(key: EncodingKey, algorithm: Algorithm) -> Option<Self> {
        let public = Jwk::from_encoding_key(&key, algorithm).ok()?;
        let verifying = DecodingKey::from_jwk(&public).ok()?;
        let made = Self { signing: Some(key), ..Self::of(&public, verifying, algorithm)? };
        let keys = Keys(vec![made]);
        let proof = Claims::new(ISSUER, crate::units::Timestamp::now(), LEEWAY_SECONDS);
        let token = keys.sign(&proof, TokenUse::Access)?;
        keys.verify(&token, TokenUse::Access).ok()?;
        keys.0.into_iter().next()
    }

    fn verifying(key: DecodingKey, algorithm: Algorithm) -> Option<Self> {
        let public = Jwk::from_decoding_key(&key, Some(algorithm)).ok()?;
        Self::of(&public, key, algorithm)
    }

    fn of(public: &Jwk, verifying: DecodingKey, algorithm: Algorithm) -> Option<Self> {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // RFC 7638: the id is derived from the key, so it is the same everywhere and needs no configuration.
        let id = public.thumbprint(ThumbprintHash::SHA256).ok()?;
        Some(Self { id, algorithm, signing: None, verifying, validation })
    }
}

/// Decodes a secret. 64 or more hexadecimal digits are read as hexadecimal, although they are valid base64, too.
fn secret_bytes(written: &str) -> Option<Zeroizing<Vec<u8>>> {
    let written = written.as_bytes();
    let is_hexadecimal = written.len() >= 2 * MIN_SECRET_BYTES && written.iter().all(u8::is_ascii_hexdigit);
    let bytes = match is_hexadecimal {
        true => HEXLOWER_PERMISSIVE.decode(written),
        false => BASE64.decode(written).or_else(|_| BASE64URL_NOPAD.decode(written)),
    };
    bytes.ok().map(Zeroizing::new)
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// Splits the text into keys: PEM blocks with their lines, and single lines.
fn split_keys(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        match found.last_mut() {
            Some(block) if inside => {
                block.push_str(line);
                block.push('\n');
                inside = !line.starts_with(END);
            }
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => {
                inside = line.starts_with(BEGIN);
                found.push(if inside { format!("{line}\n") } else { line.to_owned() });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
