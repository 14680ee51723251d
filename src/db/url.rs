//! Location of the database. The URL may contain a password, which every display of it masks.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use super::dialect::Dialect;
use super::error::DbError;

const MASK: &str = "***";

/// `sqlite:PATH`, `mysql://USER:PASSWORD@HOST/NAME` or `postgres://…`. Displayed and serialised without its password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

/// Connection options in the form of the database's driver.
pub(super) enum DriverOptions {
    MySql(MySqlConnectOptions),
    Postgres(PgConnectOptions),
    Sqlite(SqliteConnectOptions),
}

impl DatabaseUrl {
    /// The default embedded database, in the directory of the embedded log.
    pub fn embedded() -> Self {
        Self("sqlite:forebay-data/forebay.sqlite".to_owned())
    }

    /// An SQLite file.
    pub fn sqlite(path: &Path) -> Self {
        Self(format!("sqlite:{}", path.display()))
    }

    /// The whole URL, including the password.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// The database system, by the URL's scheme.
    pub(super) fn dialect(&self) -> Option<Dialect> {
        match self.0.split_once(':')?.0 {
            "sqlite" => Some(Dialect::Sqlite),
            "mysql" | "mariadb" => Some(Dialect::MySql),
            "postgres" | "postgresql" => Some(Dialect::Postgres),
            _ => None,
        }
    }

    /// Whether the database is a file that this process opens.
    pub fn is_embedded(&self) -> bool {
        self.dialect() == Some(Dialect::Sqlite)
    }

    /// Whether the database is PostgreSQL.
    pub(super) fn is_postgres(&self) -> bool {
        self.dialect() == Some(Dialect::Postgres)
    }

    /// The file of an SQLite database.
    pub(super) fn file(&self) -> Option<&Path> {
        let rest = self.0.strip_prefix("sqlite:")?;
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let path = path.split('?').next()?;
        (!path.is_empty() && !path.starts_with(':')).then(|| Path::new(path))
    }

    /// `host:port` of a server. `None` for a file, a socket, and a URL that cannot be parsed.
    pub fn address(&self) -> Option<String> {
        match self.driver_options().ok()? {
            DriverOptions::MySql(options) if options.get_socket().is_none() => {
                Some(format!("{}:{}", options.get_host(), options.get_port()))
            }
            DriverOptions::Postgres(options) if options.get_socket().is_none() => {
                Some(format!("{}:{}", options.get_host(), options.get_port()))
            }
            _ => None,
        }
    }

    /// Whether the URL contains a password.
    pub(super) fn has_password(&self) -> bool {
        self.to_string() != self.0
    }

    /// The driver's options. An error if the URL does not name a database.
    pub(super) fn driver_options(&self) -> Result<DriverOptions, DbError> {
        let text = self.expose();
        let unreadable = || DbError::Refused("the [database] url cannot be read".to_owned());
        let dialect = self.dialect().ok_or_else(unreadable)?;
        if dialect != Dialect::Sqlite && !text.contains("://") {
            return Err(unreadable());
        }
        let parsed = match dialect {
            Dialect::MySql => {
                let options = MySqlConnectOptions::from_str(text).map_err(|_| unreadable())?;
                // Without a database name no statement would work.
                options.get_database().ok_or_else(unreadable)?;
                DriverOptions::MySql(options)
            }
            Dialect::Postgres => {
                DriverOptions::Postgres(PgConnectOptions::from_str(text).map_err(|_| unreadable())?)
            }
            Dialect::Sqlite => {
                self.file().ok_or_else(unreadable)?;
                DriverOptions::Sqlite(SqliteConnectOptions::from_str(text).map_err(|_| unreadable())?)
            }
        };
        Ok(parsed)
    }
}

impl From<&str> for DatabaseUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            // A URL without slashes has no part for a password, unless the slashes were forgotten.
            return match self.dialect() == Some(Dialect::Sqlite) || !self.0.contains('@') {
                true => f.write_str(&self.0),
                false => f.write_str(MASK),
            };
        };
        // A password that should have been escaped may contain an @ or a ? too. The last @ ends it, and anything before
        // that which looks like parameters is part of it.
        let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (host, query) = rest.split_once('?').unwrap_or((rest, ""));
        let host = host.split('&').next().unwrap_or_default();
        write!(f, "{scheme}://")?;
        match user.split_once([':', '/', '?']) {
            Some((name, _)) => write!(f, "{name}:{MASK}@")?,
            None if user.is_empty() => {}
            None => write!(f, "{user}@")?,
        }
        f.write_str(host)?;
        let mut separator = '?';
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let secret = key.contains("password");
            write!(f, "{separator}{key}={}", if secret { MASK } else { value })?;
            separator = '&';
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("sqlite:forebay-data/forebay.sqlite", "sqlite:forebay-data/forebay.sqlite"),
            ("sqlite:///var/lib/a.db?mode=rw", "sqlite:///var/lib/a.db?mode=rw"),
            ("mysql://u@h:3306/db", "mysql://u@h:3306/db"),
            ("mysql://h/db", "mysql://h/db"),
            ("mysql://u:hunter2@h/db", "mysql://u:***@h/db"),
            ("mysql://u:hun@ter2@h/db", "mysql://u:***@h/db"),
            ("postgres://u:hunter2@h/db?sslmode=require", "postgres://u:***@h/db?sslmode=require"),
            ("postgres://h/db?user=u&password=hunter2", "postgres://h/db?user=u&password=***"),
        ] {
            assert_eq!(DatabaseUrl::from(url).to_string(), shown);
            assert_eq!(DatabaseUrl::from(url).has_password(), url.contains("ter2"), "{url}");
        }
        for url in
            ["mysql:u:hunter2@h/db", "mysql://u:hun?ter2@h/db", "u:hunter2@h", "mysql://u:h?hunter2=@h/db"]
        {
            let url = DatabaseUrl::from(url);
            let shown = format!("{url} {url:?}");
            assert!(!shown.contains("ter2") && !shown.contains("hun"), "{url}");
        }
    }

    #[test]
    fn the_scheme_selects_the_database() {
        let dialect = |url: &str| DatabaseUrl::from(url).dialect();
        assert_eq!(dialect("sqlite:a"), Some(Dialect::Sqlite));
        assert_eq!(dialect("mariadb://h/db"), Some(Dialect::MySql));
        assert_eq!(dialect("postgresql://h/db"), Some(Dialect::Postgres));
        assert_eq!(dialect("redis://h"), None);
        assert_eq!(dialect(""), None);
    }

    #[test]
    fn the_file_of_an_embedded_database() {
        let file = |url: &str| DatabaseUrl::from(url).file().map(Path::to_owned);
        assert_eq!(file("sqlite:a/b.db"), Some("a/b.db".into()));
        assert_eq!(file("sqlite:///a/b.db?mode=rw"), Some("/a/b.db".into()));
        assert_eq!(file("sqlite::memory:"), None);
        assert_eq!(file("sqlite:"), None);
    }
}
