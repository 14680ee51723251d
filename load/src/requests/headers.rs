//! Headers of requests. Secrets come only from files and the environment.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, bail};
use hyper::header::{HeaderName, HeaderValue};

use crate::template::Template;

/// Words in the names of headers with secret values.
const SECRET: [&str; 5] = ["authorization", "cookie", "key", "secret", "token"];
/// Names that contain one of these words although their values are not secret.
const NOT_SECRET: [&str; 1] = ["idempotency-key"];

/// A header on the command line: `Name: value`, with placeholders.
#[derive(Clone, Debug)]
pub struct PlainHeader(pub HeaderName, pub Template);

impl FromStr for PlainHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("not of the form 'Name: value'")?;
        let name: HeaderName = name.trim().parse().map_err(|_| format!("{name:?} is not a header name"))?;
        Ok(Self(name, value.trim().parse()?))
    }
}

impl PlainHeader {
    /// Fails if the name indicates a secret value. This is not part of parsing, because clap shows a value that it
    /// refuses.
    pub fn reject_secret(&self) -> anyhow::Result<()> {
        let name = self.0.as_str();
        if SECRET.iter().any(|word| name.contains(word)) && !NOT_SECRET.contains(&name) {
            bail!(
                "--header {name}: the value is a secret, and other users can read command lines: use --header-file, \
                 --header-env or --token-file"
            );
        }
        Ok(())
    }
}

/// A header whose value is in an environment variable: `Name=VARIABLE`.
#[derive(Clone, Debug)]
pub struct EnvHeader {
    name: HeaderName,
    variable: String,
}

impl FromStr for EnvHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, variable) = text.split_once('=').ok_or("not of the form Name=VARIABLE")?;
        let name = name.trim().parse().map_err(|_| format!("{name:?} is not a header name"))?;
        Ok(Self { name, variable: variable.trim().to_owned() })
    }
}

impl EnvHeader {
    /// The header with its value.
    pub fn read(&self) -> anyhow::Result<(HeaderName, HeaderValue)> {
        // The value is a secret, and the error for a value that is not UTF-8 contains it.
        let Ok(value) = std::env::var(&self.variable) else {
            bail!("--header-env {}: not set, or not UTF-8", self.variable);
        };
        let value = secret(&value).with_context(|| format!("--header-env {}", self.variable))?;
        Ok((self.name.clone(), value))
    }
}

/// Reads the headers of a file, one `Name: value` per line. Empty lines and lines that begin with `#` are ignored.
pub fn read_file(path: &Path) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let text = fs::read_to_string(path).with_context(|| format!("--header-file {}", path.display()))?;
    let mut headers = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        // The value is a secret: error messages do not contain the line.
        let place = || format!("--header-file {}, line {}", path.display(), index + 1);
        let Some((name, value)) = line.split_once(':') else {
            bail!("{}: not of the form 'Name: value'", place())
        };
        let name: HeaderName =
            name.trim().parse().map_err(|_| anyhow::anyhow!("{}: not a header name", place()))?;
        headers.push((name, secret(value.trim()).with_context(place)?));
    }
    Ok(headers)
}

fn secret(value: &str) -> anyhow::Result<HeaderValue> {
    let mut value =
        HeaderValue::from_str(value).map_err(|_| anyhow::anyhow!("the value is not printable"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_on_the_command_line_are_refused_without_showing_them() {
        for header in ["Authorization: Bearer hunter2", "Cookie: hunter2", "X-Api-Key: hunter2"] {
            let refusal = header.parse::<PlainHeader>().unwrap().reject_secret().unwrap_err().to_string();
            assert!(refusal.contains("--header-file") && !refusal.contains("hunter2"), "{refusal}");
        }
        assert!("Idempotency-Key: {{uuid}}".parse::<PlainHeader>().unwrap().reject_secret().is_ok());
    }

    #[test]
    fn an_error_in_a_file_names_its_line_only() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "# secrets\nAuthorization: Bearer hunter2\n\nhunter3\n").unwrap();
        let error = read_file(file.path()).unwrap_err().to_string();
        assert!(error.contains("line 4") && !error.contains("hunter3"), "{error}");
        fs::write(&file, "# secrets\nAuthorization: Bearer hunter2\n").unwrap();
        let headers = read_file(file.path()).unwrap();
        assert_eq!((headers[0].0.as_str(), headers[0].1.is_sensitive()), ("authorization", true));
    }
}
