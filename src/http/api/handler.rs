//! Handlers of routes. The variant of a handler states which callers may use the route. The handler receives the
//! verified caller.

use std::future::Future;
use std::pin::Pin;

use super::access;
use super::access::{Access, Administrator, Authenticated, SelfOrAdmin};
use super::state::Api;
use crate::auth::Caller;
use crate::http::http_response::HttpResponse;
use crate::http::problem::Problem;
use crate::http::server::service::MatchedRequest;
use crate::login::Login;
use crate::users::Users;

/// The future of a handler. It is boxed, because otherwise the future of every connection would be as large as the
/// largest handler's.
pub type ResponseFuture<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, Problem>> + Send + 'a>>;

/// A handler with its access rule. Handlers of user routes also get the user service, and handlers of sessions the
/// login service. Without the service, the route responds with 404.
pub enum Handler<C: 'static> {
    /// See [`Access::Public`].
    Public(for<'a> fn(&'a Api<C>, MatchedRequest<'a>) -> ResponseFuture<'a>),
    /// See [`Access::Optional`].
    Optional(for<'a> fn(&'a Api<C>, MatchedRequest<'a>, Caller) -> ResponseFuture<'a>),
    /// See [`Access::Optional`].
    Session(for<'a> fn(&'a Api<C>, &'a Login, MatchedRequest<'a>, Caller) -> ResponseFuture<'a>),
    /// See [`Access::Authenticated`].
    Authenticated(for<'a> fn(&'a Api<C>, MatchedRequest<'a>, Authenticated) -> ResponseFuture<'a>),
    /// See [`Access::SelfOrAdmin`].
    SelfOrAdmin(for<'a> fn(&'a Api<C>, &'a Users, MatchedRequest<'a>, SelfOrAdmin) -> ResponseFuture<'a>),
    /// See [`Access::Admin`].
    Admin(for<'a> fn(&'a Api<C>, &'a Users, MatchedRequest<'a>, Administrator) -> ResponseFuture<'a>),
}

impl<C: Send + Sync> Handler<C> {
    /// The access rule.
    pub fn access(&self) -> Access {
        match self {
            Self::Public(_) => Access::Public,
            Self::Optional(_) | Self::Session(_) => Access::Optional,
            Self::Authenticated(_) => Access::Authenticated,
            Self::SelfOrAdmin(_) => Access::SelfOrAdmin,
            Self::Admin(_) => Access::Admin,
        }
    }

    /// Verifies the caller and runs the handler.
    pub async fn call(&self, api: &Api<C>, request: MatchedRequest<'_>) -> Result<HttpResponse, Problem> {
        let caller = || access::caller(&api.authenticator, &request);
        match self {
            Self::Public(handle) => handle(api, request).await,
            Self::Optional(handle) => {
                let caller = caller().await?;
                handle(api, request, caller).await
            }
            Self::Session(handle) => {
                // Without the login service, the path does not exist for any caller.
                let login = api.login()?;
                let caller = caller().await?;
                handle(api, login, request, caller).await
            }
            Self::Authenticated(handle) => {
                let caller = access::authenticated(caller().await?)?;
                handle(api, request, caller).await
            }
            Self::SelfOrAdmin(handle) => {
                let (caller, users) = (caller().await?, api.users()?);
                let caller = access::self_or_admin(caller, request.parameter)?;
                handle(api, users, request, caller).await
            }
            Self::Admin(handle) => {
                let (caller, users) = (caller().await?, api.users()?);
                let caller = access::admin(caller)?;
                handle(api, users, request, caller).await
            }
        }
    }
}

/// Creates a handler for the route table: `handler!(Admin users::delete)`.
macro_rules! handler {
    (Public $handle:path) => {
        Handler::Public(|api, request| Box::pin($handle(api, request)))
    };
    (Optional $handle:path) => {
        Handler::Optional(|api, request, caller| Box::pin($handle(api, request, caller)))
    };
    (Authenticated $handle:path) => {
        Handler::Authenticated(|api, request, caller| Box::pin($handle(api, request, caller)))
    };
    ($access:ident $handle:path) => {
        Handler::$access(|api, service, request, caller| Box::pin($handle(api, service, request, caller)))
    };
}
pub(super) use handler;
