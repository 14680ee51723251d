//! The public listener.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderValue;
use prometheus::IntCounter;

use super::Answer;
use super::access;
use super::backend::AdminBackend;
use super::backend::Commands;
use super::body::Bodies;
use super::catalogue::Catalogue;
use super::checks::Checks;
use super::commands;
use super::config::Config;
use super::guard::Guard;
use super::headers;
use super::hosts::AllowedHosts;
use super::login;
use super::problem::Problem;
use super::readiness;
use super::respond;
use super::route::Route;
use super::site::Call;
use super::site::Site;
use super::status;
use super::users;
use crate::auth::Authenticator;
use crate::auth::Caller;
use crate::login::Login;
use crate::metrics::Metrics;
use crate::ratelimit::Limits;
use crate::ratelimit::Proxies;
use crate::units::ByteSize;
use crate::users::Users;

/// What records are: batch lines and curl's default type are JSON too.
pub(super) const JSON: &str = "application/json";

/// What the public listener is made of.
pub struct PublicParts<C> {
    /// Takes commands in.
    pub commands: C,
    /// Which kinds may enter.
    pub kinds: Catalogue,
    /// The user service; none: its paths are not there.
    pub users: Option<Users>,
    /// Says who calls.
    pub authenticator: Authenticator,
    /// Tokens for passwords; none: its paths are not there.
    pub login: Option<Login>,
    /// How much of what is too much; none: nothing is.
    pub limits: Option<Limits>,
    /// For `/readyz`.
    pub backend: Arc<dyn AdminBackend>,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// `[kafka] message_max`: no record may take more.
    pub message_max: ByteSize,
}

/// Its routes, ready to serve.
pub struct Public<C> {
    pub(super) commands: C,
    pub(super) kinds: Catalogue,
    pub(super) users: Option<Users>,
    pub(super) authenticator: Authenticator,
    pub(super) login: Option<Login>,
    pub(super) limits: Option<Limits>,
    proxies: Proxies,
    allowed_hosts: AllowedHosts,
    pub(super) bodies: Bodies,
    pub(super) checks: Checks,
    pub(super) record_hit: IntCounter,
    pub(super) json: Arc<str>,
    pub(super) max_body: usize,
    pub(super) max_batch_body: usize,
    pub(super) message_max: usize,
    backend: Arc<dyn AdminBackend>,
    metrics: Arc<Metrics>,
}

impl<C: Commands> Public<C> {
    /// Ties the parts together.
    pub fn new(config: &Config, parts: PublicParts<C>) -> Self {
        Self {
            bodies: Bodies::new(&parts.metrics),
            checks: Checks::default(),
            record_hit: parts.metrics.bound_hit.with_label_values(&["record"]),
            json: Arc::from(JSON),
            max_body: config.max_body.as_usize(),
            max_batch_body: config.max_batch_body.as_usize(),
            message_max: parts.message_max.as_usize(),
            commands: parts.commands,
            kinds: parts.kinds,
            users: parts.users,
            authenticator: parts.authenticator,
            login: parts.login,
            limits: parts.limits,
            proxies: config.trusted_proxies.clone(),
            allowed_hosts: config.allowed_hosts.clone(),
            backend: parts.backend,
            metrics: parts.metrics,
        }
    }
}

impl<C> Public<C> {
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

/// The routes of the public listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Accept a command or a batch.
    Post,
    /// What became of a command.
    Status,
    /// Register a user.
    Register,
    /// All users.
    Users,
    /// One user.
    User,
    /// Change a user.
    Update,
    /// Change a password.
    Password,
    /// Delete a user.
    Delete,
    /// Tokens for a name and a password.
    Login,
    /// The next tokens.
    Refresh,
    /// No more tokens.
    Logout,
    /// The description of the interface.
    OpenApi,
    /// Liveness.
    Health,
    /// Readiness.
    Ready,
}

/// A command: on stable storage when it is answered.
const fn write(
    method: &'static str,
    path: &'static str,
    body: Option<&'static str>,
    summary: &'static str,
    endpoint: Endpoint,
) -> Route<Endpoint> {
    Route { method, path, summary, usual: 202, body, answer: "accepted", endpoint }
}

const fn get(
    path: &'static str,
    answer: &'static str,
    summary: &'static str,
    endpoint: Endpoint,
) -> Route<Endpoint> {
    Route { method: "GET", path, summary, usual: 200, body: None, answer, endpoint }
}

const fn login(
    path: &'static str,
    body: &'static str,
    answer: &'static str,
    summary: &'static str,
    endpoint: Endpoint,
) -> Route<Endpoint> {
    Route { method: "POST", path, summary, usual: 200, body: Some(body), answer, endpoint }
}

impl<C: Commands> Site for Public<C> {
    type Endpoint = Endpoint;

    const ROUTES: &'static [Route<Endpoint>] = &[
        write(
            "POST",
            "/v1/commands/{kind}",
            Some("command"),
            "Accept one command, or a batch of one a line",
            Endpoint::Post,
        ),
        get("/v1/commands/{id}", "status", "What became of a command", Endpoint::Status),
        write("POST", "/v1/users", Some("new_user"), "Register a user", Endpoint::Register),
        get("/v1/users", "users", "The users, page by page", Endpoint::Users),
        get("/v1/users/{name}", "user", "A user", Endpoint::User),
        write(
            "PUT",
            "/v1/users/{name}",
            Some("change"),
            "Change a user's e-mail, phone or nickname",
            Endpoint::Update,
        ),
        write(
            "PUT",
            "/v1/users/{name}/password",
            Some("password_change"),
            "Change a user's password",
            Endpoint::Password,
        ),
        write("DELETE", "/v1/users/{name}", None, "Delete a user", Endpoint::Delete),
        login("/login", "credentials", "tokens", "Log in", Endpoint::Login),
        login("/refresh", "refresh", "tokens", "Prolong a login", Endpoint::Refresh),
        login("/logout", "logout", "object", "End a login", Endpoint::Logout),
        get("/openapi.json", "object", "This description", Endpoint::OpenApi),
        get("/healthz", "object", "Whether the process answers", Endpoint::Health),
        get("/readyz", "object", "Whether commands are accepted", Endpoint::Ready),
    ];

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn guard(&self, loopback: bool) -> Guard {
        Guard::new(loopback, !self.authenticator.asks(), &self.allowed_hosts)
    }

    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all(headers::FORWARDED_FOR).iter();
        self.proxies.client(peer, lines.map(|line| line.to_str().ok()))
    }

    async fn answer(&self, endpoint: Endpoint, call: Call<'_>) -> Result<Answer, Problem> {
        let caller = match endpoint {
            // Nobody need show a token for these.
            Endpoint::Login | Endpoint::Refresh | Endpoint::Logout => Caller::Nobody,
            Endpoint::OpenApi | Endpoint::Health | Endpoint::Ready => Caller::Nobody,
            _ => access::caller(&self.authenticator, &call).await?,
        };
        // Boxed, but for the one that is most asked for: the largest would make every connection's future as large.
        match endpoint {
            Endpoint::Post => commands::post(self, call, &caller).await,
            Endpoint::Status => Box::pin(status::get(self, call, &caller)).await,
            Endpoint::Register => Box::pin(users::register(self, call, &caller)).await,
            Endpoint::Users => Box::pin(users::list(self, call, &caller)).await,
            Endpoint::User => Box::pin(users::get(self, call, &caller)).await,
            Endpoint::Update => Box::pin(users::update(self, call, &caller)).await,
            Endpoint::Password => Box::pin(users::set_password(self, call, &caller)).await,
            Endpoint::Delete => Box::pin(users::delete(self, call, &caller)).await,
            Endpoint::Login => Box::pin(login::login(self, call)).await,
            Endpoint::Refresh => Box::pin(login::refresh(self, call)).await,
            Endpoint::Logout => Box::pin(login::logout(self, call)).await,
            Endpoint::OpenApi => {
                let description = self.kinds.current().description(Self::ROUTES);
                Ok(respond::bytes(HeaderValue::from_static(JSON), description))
            }
            Endpoint::Health => Ok(readiness::health()),
            Endpoint::Ready => Ok(readiness::ready(&*self.backend)),
        }
    }
}
