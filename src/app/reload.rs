//! SIGHUP: reads the configuration again and applies the keys that can change at run time.
//!
//! The whole configuration is read and validated first, including the files of kinds, tokens and certificates. If it
//! has an error, nothing changes. Keys that need a restart are named in the log at every reload until the restart.

use std::error::Error;

use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;

use crate::auth::Authenticator;
use crate::config::{Config, ConfigErrors, Source};
use crate::http::{Catalogue, Tls};
use crate::kinds::Kinds;
use crate::ratelimit::Limits;
use crate::task::Task;
use crate::telemetry;

/// Why nothing was changed.
type ReloadError = Box<dyn Error + Send + Sync>;

/// Components whose settings a reload changes.
#[derive(Clone, Default)]
pub(super) struct Reloadable {
    pub(super) kinds: Option<Catalogue>,
    pub(super) limits: Option<Limits>,
    pub(super) authenticator: Option<Authenticator>,
    pub(super) tls: Option<Tls>,
}

impl Reloadable {
    /// Whether a reload applies this key.
    fn applies(&self, key: &str) -> bool {
        match key.split_once('.') {
            None => key == "kinds" && self.kinds.is_some(),
            Some(("rate_limit", _)) => self.limits.is_some(),
            _ => key == "telemetry.log_level",
        }
    }
}

/// Reloads on every SIGHUP until the returned `Task` is dropped.
pub(super) fn watch(mut hangups: Signal, source: &Source, config: &Config, parts: Reloadable) -> Task {
    let (source, mut current) = (source.clone(), config.clone());
    Task::spawn("reload", async move {
        while hangups.recv().await.is_some() {
            if let Err(error) = reload(&source, &mut current, &parts).await {
                tracing::error!(
                    event = "config.reload_failed",
                    %error,
                    "configuration not reloaded; nothing was changed"
                );
            }
        }
    })
}

async fn reload(source: &Source, current: &mut Config, parts: &Reloadable) -> Result<(), ReloadError> {
    let (source, tls) = (source.clone(), parts.tls.clone());
    let PreparedReload { config, kinds, certificate } =
        spawn_blocking(move || PreparedReload::read(&source, tls.as_ref())).await??;
    let changed = current.changes(&config)?;
    let (applied, needs_restart): (Vec<_>, Vec<_>) = changed.into_iter().partition(|key| parts.applies(key));
    // Before the rest: no later step can fail.
    telemetry::set_level(config.telemetry.log_level)?;
    if let Some(catalogue) = &parts.kinds {
        catalogue.replace(kinds);
        current.kinds = config.kinds;
    }
    if let Some(limits) = &parts.limits {
        limits.configure(&config.rate_limit);
        current.rate_limit = config.rate_limit;
    }
    current.telemetry.log_level = config.telemetry.log_level;
    if let Some(authenticator) = &parts.authenticator {
        authenticator.reload_files().await;
    }
    certificate.into_iter().for_each(|exchange| exchange());
    if !needs_restart.is_empty() {
        let keys = needs_restart.join(", ");
        tracing::warn!(event = "config.restart_needed", config.keys = keys, "some changes need a restart");
    }
    let keys = applied.join(", ");
    let message = match keys.is_empty() {
        true => "configuration reloaded; no changed setting was applied",
        false => "configuration reloaded",
    };
    tracing::info!(event = "config.reloaded", config.keys = keys, "{message}");
    Ok(())
}

/// A configuration that was read and has no errors.
struct PreparedReload {
    config: Config,
    kinds: Kinds,
    /// Activates the new certificate.
    certificate: Option<Box<dyn FnOnce() + Send>>,
}

impl PreparedReload {
    /// Reads everything. Blocks on disk I/O.
    fn read(source: &Source, tls: Option<&Tls>) -> Result<Self, ReloadError> {
        // Also reads the files of `[auth]` and of the kinds.
        let config = source.load()?;
        let kinds = Kinds::build(&config.kinds).map_err(ConfigErrors::from)?;
        let certificate = tls.map(Tls::prepare).transpose().map_err(ConfigErrors::from)?;
        Ok(Self { config, kinds, certificate })
    }
}
