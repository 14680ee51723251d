//! What the handlers of the public listener work with.

use std::net::IpAddr;
use std::sync::Arc;

use prometheus::IntCounter;

use super::catalogue::Catalogue;
use super::checks::Checks;
use crate::auth::Authenticator;
use crate::http::backend::{AdminService, CommandService};
use crate::http::body::Bodies;
use crate::http::config::Config;
use crate::http::metrics::Metrics;
use crate::http::problem;
use crate::http::problem::Problem;
use crate::http::server::hosts::AllowedHosts;
use crate::login::Login;
use crate::ratelimit::{Limits, Proxies};
use crate::telemetry::trace::Tracer;
use crate::units::ByteSize;
use crate::users::Users;

/// What records are: batch lines and curl's default type are JSON too.
pub(super) const JSON: &str = "application/json";

/// What the public listener is made of.
pub struct ApiParts<C> {
    /// Takes commands in.
    pub commands: C,
    /// Which kinds may enter.
    pub kinds: Catalogue,
    /// Whether the configuration has a user service: then its paths are described, also while it is not there.
    pub has_users: bool,
    /// The user service; none: its paths are not there.
    pub users: Option<Users>,
    /// Says who calls.
    pub authenticator: Authenticator,
    /// Tokens for passwords; none: its paths are not there.
    pub login: Option<Login>,
    /// How much of what is too much; none: nothing is.
    pub limits: Option<Limits>,
    /// For `/readyz`.
    pub backend: Arc<dyn AdminService>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// `[kafka] message_max`: no record may take more.
    pub message_max: ByteSize,
    /// Who takes the spans of sampled requests.
    pub tracer: Tracer,
}

/// Its routes, ready to serve.
pub struct Api<C> {
    pub(super) commands: C,
    pub(super) kinds: Catalogue,
    has_users: bool,
    users: Option<Users>,
    pub(super) authenticator: Authenticator,
    login: Option<Login>,
    pub(super) limits: Option<Limits>,
    pub(super) proxies: Proxies,
    pub(super) allowed_hosts: AllowedHosts,
    pub(super) bodies: Bodies,
    pub(in crate::http) checks: Checks,
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
    /// Ties the parts together.
    pub fn new(config: &Config, parts: ApiParts<C>) -> Self {
        Self {
            bodies: Bodies::new(&parts.metrics),
            checks: Checks::default(),
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
    /// Whether a daemon of this configuration has something at a path of the table.
    pub(super) fn has(&self, path: &str) -> bool {
        match path {
            "/login" | "/refresh" | "/logout" => self.has_users,
            _ => self.has_users || !path.starts_with("/v1/users"),
        }
    }

    /// The user service; without one its paths are not found.
    pub(super) fn users(&self) -> Result<&Users, Problem> {
        self.users.as_ref().ok_or_else(nothing_here)
    }

    /// The logins; without them their paths are not found.
    pub(super) fn login(&self) -> Result<&Login, Problem> {
        self.login.as_ref().ok_or_else(nothing_here)
    }

    /// One command more of whoever calls. A principal counts alone, wherever it calls from.
    pub(super) async fn limited(&self, principal: Option<&str>, client: IpAddr) -> Result<(), Problem> {
        let Some(limits) = &self.limits else { return Ok(()) };
        Ok(limits.write(principal, client).await?)
    }

    /// The other commands of a batch, the first one being counted: all or none.
    pub(super) async fn limited_rest(
        &self,
        principal: Option<&str>,
        client: IpAddr,
        commands: usize,
    ) -> Result<(), Problem> {
        let Some(limits) = &self.limits else { return Ok(()) };
        Ok(limits.write_rest(principal, client, commands as u64).await?)
    }
}

fn nothing_here() -> Problem {
    Problem::new(&problem::NOT_FOUND, "No resource exists at this path.")
}
