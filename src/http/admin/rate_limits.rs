//! Handlers of `/admin/ratelimit/{limiter}`: show and change the rate limits.

use crate::http::body::BodyBudget;
use crate::http::http_response::HttpResponse;
use crate::http::problem::{ErrorDetail, Problem};
use crate::http::server::service::MatchedRequest;
use crate::http::{form, problem, respond};
use crate::ratelimit::{AdjustableLimiter, Limits, Setting, SettingError};

/// Maximum bytes of a form. The three members need less than 100 bytes.
const MAX_BODY: usize = 4 << 10;

/// Responds with the current setting.
pub fn get(limits: Option<&Limits>, name: &str) -> Result<HttpResponse, Problem> {
    let (limits, which) = resolve(limits, name)?;
    Ok(respond::json(&limits.setting(which)))
}

/// Changes the setting. It is effective on this daemon before the response, and on other daemons within a second.
pub async fn put(
    limits: Option<&Limits>,
    bodies: &BodyBudget,
    request: MatchedRequest<'_>,
    origin: &str,
) -> Result<HttpResponse, Problem> {
    let (limits, which) = resolve(limits, request.parameter)?;
    let form = form::read(bodies, MAX_BODY, request).await?;
    let setting = Setting::read(&form.members).map_err(|errors| invalid(&errors))?;
    if setting.enabled && !limits.is_on() {
        let detail =
            "must be false, because [rate_limit] enabled = false in the configuration disables all limits";
        return Err(invalid(&[SettingError { member: "enabled".to_owned(), detail: detail.to_owned() }]));
    }
    let before = limits.setting(which);
    let changed = limits.change(which, setting).await;
    tracing::info!(
        event = "operator.rate_limit_changed",
        origin,
        limiter = which.name(),
        before.enabled = before.enabled,
        before.limit = before.limit,
        before.window = %before.window,
        enabled = setting.enabled,
        limit = setting.limit,
        window = %setting.window,
        shared = changed.is_ok(),
        "operator changed a rate limit"
    );
    changed.map_err(|error| {
        let detail = format!("{error}. They get it when the shared store is available again.");
        Problem::new(&problem::LIMITS_NOT_SHARED, detail)
    })?;
    Ok(respond::json(&limits.setting(which)))
}

fn resolve<'a>(limits: Option<&'a Limits>, name: &str) -> Result<(&'a Limits, AdjustableLimiter), Problem> {
    let found = limits.zip(AdjustableLimiter::named(name));
    found.ok_or_else(|| Problem::new(&problem::NOT_FOUND, "The rate limits are `login` and `write`."))
}

fn invalid(errors: &[SettingError]) -> Problem {
    let mut problem = Problem::new(&problem::INVALID_LIMIT, "See `errors` for each field.");
    problem.field = errors.first().map(|error| error.member.clone().into());
    let place = |error: &SettingError| ErrorDetail::new(format!("/{}", error.member), &*error.detail);
    problem.errors = errors.iter().map(place).collect();
    problem
}
