//! The route table of the public listener, with the handler and the access rule of each route.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderValue;

use super::handler::{Handler, handler};
use super::openapi::KIND_PATH;
use super::state::{Api, JSON};
use super::users::{reads, writes};
use super::{commands, login, openapi, status};
use crate::http::http_response::HttpResponse;
use crate::http::metrics::Metrics;
use crate::http::problem::Problem;
use crate::http::server::guard::Guard;
use crate::http::server::route::Route;
use crate::http::server::service::{MatchedRequest, Service};
use crate::http::services::CommandService;
use crate::http::{headers, problem, problem_page, readiness, respond};
use crate::kinds::Kinds;
use crate::telemetry::trace::Tracer;

/// A route that accepts commands. They are on stable storage before the response is sent.
const fn write<C>(
    method: &'static str,
    path: &'static str,
    operation: &'static str,
    body: Option<&'static str>,
    summary: &'static str,
    endpoint: Handler<C>,
) -> Route<Handler<C>> {
    Route {
        method,
        path,
        operation,
        summary,
        success_status: 202,
        body,
        response_schema: "accepted",
        endpoint,
    }
}

const fn get<C>(
    path: &'static str,
    operation: &'static str,
    response_schema: &'static str,
    summary: &'static str,
    endpoint: Handler<C>,
) -> Route<Handler<C>> {
    Route {
        method: "GET",
        path,
        operation,
        summary,
        success_status: 200,
        body: None,
        response_schema,
        endpoint,
    }
}

const fn login<C>(
    path: &'static str,
    operation: &'static str,
    body: &'static str,
    response_schema: &'static str,
    summary: &'static str,
    endpoint: Handler<C>,
) -> Route<Handler<C>> {
    Route {
        method: "POST",
        path,
        operation,
        summary,
        success_status: 200,
        body: Some(body),
        response_schema,
        endpoint,
    }
}

impl<C: CommandService> Service for Api<C> {
    type Endpoint = Handler<C>;

    const ROUTES: &'static [Route<Self::Endpoint>] = &[
        write(
            "POST",
            KIND_PATH,
            "submit",
            Some("command"),
            "Submit one command, or a batch with one command per line",
            handler!(Authenticated commands::post),
        ),
        get(
            "/v1/commands/{id}",
            "get_command_status",
            "status",
            "Get the status of a command",
            handler!(Optional status::get),
        ),
        write(
            "POST",
            "/v1/users",
            "register_user",
            Some("new_user"),
            "Register a user",
            handler!(Optional writes::register),
        ),
        get("/v1/users", "list_users", "users", "List users, page by page", handler!(Admin reads::list)),
        get("/v1/users/{name}", "get_user", "user", "Get a user", handler!(SelfOrAdmin reads::get)),
        write(
            "PUT",
            "/v1/users/{name}",
            "update_user",
            Some("change"),
            "Change a user's e-mail, phone or nickname",
            handler!(SelfOrAdmin writes::update),
        ),
        write(
            "PUT",
            "/v1/users/{name}/password",
            "change_password",
            Some("password_change"),
            "Change a user's password",
            handler!(SelfOrAdmin writes::set_password),
        ),
        write(
            "DELETE",
            "/v1/users/{name}",
            "delete_user",
            None,
            "Delete a user",
            handler!(Admin writes::delete),
        ),
        login("/login", "log_in", "credentials", "tokens", "Log in", handler!(Public login::login)),
        login(
            "/refresh",
            "refresh_tokens",
            "refresh",
            "tokens",
            "Get new tokens for a refresh token",
            handler!(Public login::refresh),
        ),
        login("/logout", "log_out", "logout", "object", "Log out", handler!(Session login::logout)),
        get("/openapi.json", "get_description", "object", "Get this description", handler!(Public describe)),
        get(
            problem::DESCRIPTION,
            "explain_error",
            "text",
            "Get the description of a problem code: cause and remedy",
            handler!(Public explain),
        ),
        get("/healthz", "get_health", "health", "Check that the process responds", handler!(Public health)),
        get(
            "/readyz",
            "get_readiness",
            "readiness",
            "Check that commands are accepted",
            handler!(Public ready),
        ),
    ];

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn guard(&self, loopback: bool) -> Guard {
        Guard::new(loopback, !self.authenticator.requires_token(), &self.allowed_hosts)
    }

    fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lines = headers.get_all(headers::FORWARDED_FOR).iter();
        self.proxies.client(peer, lines.map(|line| line.to_str().ok()))
    }

    async fn call(
        &self,
        handler: &'static Handler<C>,
        request: MatchedRequest<'_>,
    ) -> Result<HttpResponse, Problem> {
        handler.call(self, request).await
    }
}

async fn describe<C: CommandService>(api: &Api<C>, _: MatchedRequest<'_>) -> Result<HttpResponse, Problem> {
    let describe = |kinds: &Kinds| {
        let routes = Api::<C>::ROUTES.iter().filter(|route| api.has_path(route.path));
        openapi::describe(routes, kinds, api.authenticator.requires_token())
    };
    Ok(respond::bytes(HeaderValue::from_static(JSON), api.kinds.current().description(describe)))
}

async fn explain<C: CommandService>(
    _: &Api<C>,
    request: MatchedRequest<'_>,
) -> Result<HttpResponse, Problem> {
    problem_page::get(request.parameter)
}

async fn health<C: CommandService>(_: &Api<C>, _: MatchedRequest<'_>) -> Result<HttpResponse, Problem> {
    Ok(readiness::health())
}

async fn ready<C: CommandService>(api: &Api<C>, _: MatchedRequest<'_>) -> Result<HttpResponse, Problem> {
    Ok(readiness::ready(&api.backend.cached_readiness().redacted()))
}
