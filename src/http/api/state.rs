//! Dependencies of the public listener's handlers.

use std::net::IpAddr;
use std::sync::Arc;

use prometheus::IntCounter;

use super::body_checks::BodyChecks;
use super::catalogue::Catalogue;
use crate::auth::Authenticator;
use crate::http::body::BodyBudget;
use crate::http::config::Config;
use crate::http::metrics::Metrics;
use crate::http::problem;
use crate::http::problem::Problem;
use crate::http::server::hosts::AllowedHosts;
use crate::http::services::{AdminService, CommandService};
use crate::login::Login;
use crate::ratelimit::{Limits, TrustedProxies};
use crate::telemetry::trace::Tracer;
use crate::units::ByteSize;
use crate::users::Users;

/// Media type of JSON records, also for lines of a batch and for bodies with curl's default type.
pub(super) const JSON: &str = "application/json";

/// Dependencies of the public listener.
pub struct ApiParts<C> {
    /// Accepts commands and reports their status.
    pub commands: C,
    /// The accepted kinds.
    pub kinds: Catalogue,
    /// Whether the configuration enables the user service. Then its paths are in the OpenAPI description, also while it
    /// is not running.
    pub has_users: bool,
    /// The user service. `None`: its paths respond with 404.
    pub users: Option<Users>,
    /// Verifies callers.
    pub authenticator: Authenticator,
    /// The login service. `None`: its paths respond with 404.
    pub login: Option<Login>,
    /// Rate limits. `None` disables them.
    pub limits: Option<Limits>,
    /// Provides the readiness for `/readyz`.
    pub backend: Arc<dyn AdminService>,
    /// Metrics of requests.
    pub metrics: Arc<Metrics>,
    /// `[kafka] message_max`: maximum size of a record.
    pub message_max: ByteSize,
    /// Receives the spans of sampled requests.
    pub tracer: Tracer,
}

/// The public API. It serves the route table.
pub struct Api<C> {
    pub(super) commands: C,
    pub(super) kinds: Catalogue,
    has_users: bool,
    users: Option<Users>,
    pub(super) authenticator: Authenticator,
    login: Option<Login>,
    pub(super) limits: Option<Limits>,
    pub(super) proxies: TrustedProxies,
    pub(super) allowed_hosts: AllowedHosts,
    pub(super) bodies: BodyBudget,
    pub(in crate::http) checks: BodyChecks,
    pub(super) record_hit: IntCounter,
    pub(super) json: Arc<str>,
    pub(super) max_body: usize,
    pub(super) max_batch_body: usize,
    pub(super) message_max: usize,
    pub(super) backend: Arc<dyn AdminService>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tracer: Tracer,
}

impl<C: CommandService> Api<C> {
    /// Constructs the API from its dependencies.
    pub fn new(config: &Config, parts: ApiParts<C>) -> Self {
        Self {
            bodies: BodyBudget::new(&parts.metrics),
            checks: BodyChecks::default(),
            record_hit: parts.metrics.record_hit.clone(),
            json: Arc::from(JSON),
            max_body: config.max_body.as_usize(),
            max_batch_body: config.max_batch_body.as_usize(),
            message_max: parts.message_max.as_usize(),
            commands: parts.commands,
            kinds: parts.kinds,
            has_users: parts.has_users,
            users: parts.users,
            authenticator: parts.authenticator,
            login: parts.login,
            limits: parts.limits,
            proxies: config.trusted_proxies.clone(),
            allowed_hosts: config.allowed_hosts.clone(),
            backend: parts.backend,
            metrics: parts.metrics,
            tracer: parts.tracer,
        }
    }
}

impl<C> Api<C> {
    /// Whether a path of the route table exists with this configuration.
    pub(super) fn has_path(&self, path: &str) -> bool {
        match path {
            "/login" | "/refresh" | "/logout" => self.has_users,
            _ => self.has_users || !path.starts_with("/v1/users"),
        }
    }

    /// The user service. Error 404 without it.
    pub(super) fn users(&self) -> Result<&Users, Problem> {
        self.users.as_ref().ok_or_else(not_found)
    }

    /// The login service. Error 404 without it.
    pub(super) fn login(&self) -> Result<&Login, Problem> {
        self.login.as_ref().ok_or_else(not_found)
    }

    /// Counts one command of the caller against its rate limit. Commands with a principal count against the principal,
    /// independent of the client's address.
    pub(super) async fn check_rate_limit(
        &self,
        principal: Option<&str>,
        client: IpAddr,
    ) -> Result<(), Problem> {
        let Some(limits) = &self.limits else { return Ok(()) };
        Ok(limits.write(principal, client).await?)
    }

    /// Counts the rest of a batch, whose first command is already counted. Counts all of them or none.
    pub(super) async fn check_batch_rate_limit(
        &self,
        principal: Option<&str>,
        client: IpAddr,
        commands: usize,
    ) -> Result<(), Problem> {
        let Some(limits) = &self.limits else { return Ok(()) };
        Ok(limits.write_rest(principal, client, commands as u64).await?)
    }
}

fn not_found() -> Problem {
    let detail = "This daemon does not serve users or logins. See [users] enabled, [auth] jwt_key_file, and the dependency \
                  `users` in /readyz.";
    Problem::new(&problem::NOT_FOUND, detail)
}
