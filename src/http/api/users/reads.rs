//! `GET /v1/users/{name}` and the list of users.

use hyper::Uri;

use crate::http::answer::Answer;
use crate::http::api::access::{Administrator, SelfOrAdmin};
use crate::http::api::documents::UserPage;
use crate::http::api::state::Api;
use crate::http::backend::CommandService;
use crate::http::problem::Problem;
use crate::http::server::service::MatchedRequest;
use crate::http::{problem, respond};
use crate::users;
use crate::users::Users;

/// `GET /v1/users/{name}`.
pub async fn get<C: CommandService>(
    _: &Api<C>,
    users: &Users,
    _: MatchedRequest<'_>,
    caller: SelfOrAdmin,
) -> Result<Answer, Problem> {
    let (caller, name) = (caller.caller(), caller.user());
    Ok(respond::json(&*users.profile(name, caller.owner()).await?))
}

/// `GET /v1/users?limit=&cursor=`.
pub async fn list<C: CommandService>(
    _: &Api<C>,
    users: &Users,
    request: MatchedRequest<'_>,
    _: Administrator,
) -> Result<Answer, Problem> {
    let Query { limit, cursor } = Query::of(&request.head.uri)?;
    let refusal = |detail: &'static str, field: &'static str| {
        Problem::new(&problem::BAD_PARAMETER, detail).field(field)
    };
    let limit = users::page_limit(limit.as_deref()).ok_or_else(|| {
        refusal("Send a number of users, at least 1. Numbers above 1000 count as 1000.", "limit")
    })?;
    let page = users.page(cursor.as_deref(), limit).await?;
    let page =
        page.ok_or_else(|| refusal("Send the `next_cursor` of the previous page unchanged.", "cursor"))?;
    Ok(respond::sorted_json(&UserPage { users: &page.users, next_cursor: page.next.as_deref() }))
}

/// The query of the list.
#[derive(Default)]
struct Query {
    limit: Option<String>,
    cursor: Option<String>,
}

impl Query {
    fn of(uri: &Uri) -> Result<Self, Problem> {
        let mut query = Self::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let place = match &*name {
                "limit" => &mut query.limit,
                "cursor" => &mut query.cursor,
                _ => {
                    let refusal = "The only parameters are `limit` and `cursor`.";
                    return Err(Problem::new(&problem::BAD_PARAMETER, refusal));
                }
            };
            if place.replace(value.into_owned()).is_some() {
                let refusal = Problem::new(&problem::BAD_PARAMETER, "This parameter may occur only once.");
                return Err(refusal.field(name.into_owned()));
            }
        }
        Ok(query)
    }
}
