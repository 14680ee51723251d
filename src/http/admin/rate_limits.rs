//! `/admin/ratelimit/{limiter}`: the limits as they hold, and how an operator changes them.

use crate::http::answer::Answer;
use crate::http::body::Bodies;
use crate::http::problem::{Place, Problem};
use crate::http::server::service::MatchedRequest;
use crate::http::{form, problem, respond};
use crate::ratelimit::{Fault, Limits, Setting, Which};

/// Three members take less than a hundred.
const MAX_BODY: usize = 4 << 10;

/// What holds.
pub fn get(limits: Option<&Limits>, name: &str) -> Result<Answer, Problem> {
    let (limits, which) = found(limits, name)?;
    Ok(respond::json(&limits.setting(which)))
}

/// Holds on this daemon when it is answered, and on the others within a second.
pub async fn put(
    limits: Option<&Limits>,
    bodies: &Bodies,
    request: MatchedRequest<'_>,
    origin: &str,
) -> Result<Answer, Problem> {
    let (limits, which) = found(limits, request.parameter)?;
    let form = form::read(bodies, MAX_BODY, request).await?;
    let setting = Setting::read(&form.members).map_err(|faults| invalid(&faults))?;
    if setting.enabled && !limits.is_on() {
        let detail =
            "It must be false: [rate_limit] enabled = false in the configuration turns all limits off.";
        return Err(invalid(&[Fault { member: "enabled".to_owned(), detail: detail.to_owned() }]));
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
        let detail = format!("{error}. The other daemons follow when Redis is available again.");
        Problem::new(&problem::LIMITS_NOT_SHARED, detail)
    })?;
    Ok(respond::json(&limits.setting(which)))
}

fn found<'a>(limits: Option<&'a Limits>, name: &str) -> Result<(&'a Limits, Which), Problem> {
    let found = limits.zip(Which::named(name));
    found.ok_or_else(|| Problem::new(&problem::NOT_FOUND, "The rate limits are `login` and `write`."))
}

fn invalid(faults: &[Fault]) -> Problem {
    let mut problem = Problem::new(&problem::INVALID_LIMIT, "See `errors` for each member.");
    problem.field = faults.first().map(|fault| fault.member.clone().into());
    let place = |fault: &Fault| Place::new(format!("/{}", fault.member), &*fault.detail);
    problem.errors = faults.iter().map(place).collect();
    problem
}
