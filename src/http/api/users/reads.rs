//! Handlers of `GET /v1/users/{name}` and `GET /v1/users`.

use hyper::Uri;

use crate::bounded_errors::truncated;
use crate::http::api::access::{Administrator, SelfOrAdmin};
use crate::http::api::documents::UserPage;
use crate::http::api::state::Api;
use crate::http::http_response::HttpResponse;
use crate::http::problem::Problem;
use crate::http::server::service::MatchedRequest;
use crate::http::services::CommandService;
use crate::http::{problem, respond};
use crate::users;
use crate::users::Users;

/// `GET /v1/users/{name}`.
pub async fn get<C: CommandService>(
    _: &Api<C>,
    users: &Users,
    _: MatchedRequest<'_>,
    caller: SelfOrAdmin,
) -> Result<HttpResponse, Problem> {
    let (caller, name) = (caller.caller(), caller.user());
    Ok(respond::json(&*users.profile(name, caller.owner()).await?))
}

/// `GET /v1/users?limit=&cursor=`.
pub async fn list<C: CommandService>(
    _: &Api<C>,
    users: &Users,
    request: MatchedRequest<'_>,
    _: Administrator,
) -> Result<HttpResponse, Problem> {
    let Query { limit, cursor } = Query::of(&request.head.uri)?;
    let refusal = |detail: &'static str, field: &'static str| {
        Problem::new(&problem::BAD_PARAMETER, detail).field(field)
    };
    let limit = users::page_limit(limit.as_deref()).ok_or_else(|| {
        refusal("Send a number of users, 1 or more. Values above 1000 are reduced to 1000.", "limit")
    })?;
    let page = users.page(cursor.as_deref(), limit).await?;
    let page =
        page.ok_or_else(|| refusal("Send the `next_cursor` of the previous page, unchanged.", "cursor"))?;
    Ok(respond::sorted_json(&UserPage { users: &page.users, next_cursor: page.next.as_deref() }))
}

/// Query parameters of the list.
#[derive(Default)]
struct Query {
    limit: Option<String>,
    cursor: Option<String>,
}

/// Maximum bytes of an unknown parameter's name in an error.
const MAX_NAME_BYTES: usize = 100;

impl Query {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let place = match &*name {
                "limit" => &mut query.limit,
                "cursor" => &mut query.cursor,
                _ => {
                    let refusal = "The only parameters are `limit` and `cursor`.";
                    let refusal = Problem::new(&problem::BAD_PARAMETER, refusal);
                    return Err(refusal.field(truncated(&name, MAX_NAME_BYTES)));
                }
            };
            if place.replace(value.into_owned()).is_some() {
                let refusal = Problem::new(&problem::BAD_PARAMETER, "Send this parameter only once.");
                return Err(refusal.field(name.into_owned()));
            }
        }
        Ok(query)
    }
}
