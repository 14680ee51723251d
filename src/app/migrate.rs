//! `forebay migrate`: updates the database schema and creates a first administrator.

use std::io;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::command::Secret;
use crate::config::{Config, ConfigErrors};
use crate::config_error::ConfigError;
use crate::db::{Database, DbError};
use crate::units::Timestamp;
use crate::{db, users};

use super::process::{Process, registered};
use super::{Failure, output};

/// Maximum size of a password file in bytes. A password is one line; a larger file is the wrong one.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Updates the schema and, if a name is given, creates that administrator. The password comes from a file or from
/// standard input, because every user of the machine can see a command line.
pub fn migrate(config: &Config, admin: Option<&str>, password_file: Option<&Path>) -> Result<(), Failure> {
    let Process { runtime, registry, .. } = Process::begin(config, || {})?;
    // Validate all arguments before the database is touched.
    let admin =
        admin.map(|name| administrator(name, password_file, config.users.password_cost)).transpose()?;
    let metrics = registered(db::Metrics::register(&registry))?;
    runtime.block_on(async {
        let db = Database::connect(&config.database(), &metrics).await?;
        // Before any table is created in an unsuitable database, and afterwards, because tables may have changed.
        keeps_every_character(&db).await?;
        let applied = db.migrate().await?;
        keeps_every_character(&db).await?;
        if applied.is_empty() {
            output::report("the database schema is up to date\n");
        }
        for name in applied {
            output::report(format_args!("applied {name}\n"));
        }
        if let Some((name, hash)) = admin {
            match db.create_admin(&name, &hash, Timestamp::now()).await {
                Err(DbError::Conflict) => {
                    return Err(Failure::Usage(format!("user {name} already exists")));
                }
                made => made?,
            }
            output::report(format_args!("created administrator {name}\n"));
            if !config.serves_users() {
                output::report(
                    "note: [users] enabled is false in this configuration, so forebay serve does not serve logins\n",
                );
            }
        }
        Ok(())
    })
}

/// Rejects a database whose encoding loses characters. That is an error of the configuration: the URL is wrong.
async fn keeps_every_character(db: &Database) -> Result<(), Failure> {
    match db.wrong_encoding().await? {
        None => Ok(()),
        Some(wrong) => {
            let mistake = ConfigError::new("database", "url", wrong.found, wrong.remedy);
            Err(ConfigErrors::from(vec![mistake]).into())
        }
    }
}

/// Validates name and password. Returns the name and the password hash.
fn administrator(name: &str, file: Option<&Path>, cost: u32) -> Result<(String, String), Failure> {
    let refused = |error: users::FieldError| Failure::Usage(format!("{}: {}", error.field, error.detail));
    let name = users::normal_name(name).map_err(refused)?;
    let password = password(file)?;
    users::check_password(password.expose(), &[&name]).map_err(refused)?;
    let hash = users::hash_now(&password, cost).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok((name, hash))
}

/// Reads the password, without its line end.
fn password(file: Option<&Path>) -> Result<Secret, Failure> {
    let mut text = Zeroizing::new(String::new());
    match file {
        Some(path) => std::fs::File::open(path)
            .and_then(|file| file.take(MAX_PASSWORD_BYTES).read_to_string(&mut text))
            .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?,
        None => io::stdin().take(MAX_PASSWORD_BYTES).read_to_string(&mut text).map_err(|error| {
            Failure::Usage(format!("cannot read a password from standard input: {error}"))
        })?,
    };
    // In the normal form that a login compares.
    Ok(users::normal_password(text.trim_end_matches(['\r', '\n'])))
}
