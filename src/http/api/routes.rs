//! The routes of the public listener, and who answers what.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderValue;

use super::access;
use super::commands;
use super::login;
use super::state::JSON;
use super::state::Public;
use super::status;
use super::users;
use crate::auth::Caller;
use crate::http::answer::Answer;
use crate::http::backend::Commands;
use crate::http::headers;
use crate::http::problem::Problem;
use crate::http::readiness;
use crate::http::respond;
use crate::http::server::guard::Guard;
use crate::http::server::route::Route;
use crate::http::server::service::Call;
use crate::http::server::service::Site;
use crate::metrics::Metrics;

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
