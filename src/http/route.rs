//! One line of a listener's table: matching, metrics and the description of the interface come from it.

use hyper::Method;

use super::problem;
use super::problem::Problem;

/// A method on a path.
pub struct Route<E: 'static> {
    /// HTTP method; `GET` serves `HEAD` too.
    pub method: &'static str,
    /// Path; its last segment may be `{name}`.
    pub path: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// Status of its usual answer.
    pub usual: u16,
    /// What the site is told.
    pub endpoint: E,
}

/// The matching route's place in the table and its parameter, or the refusal.
pub(super) fn find<'p, E>(
    routes: &[Route<E>],
    method: &Method,
    path: &'p str,
) -> Result<(usize, &'p str), Problem> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let mut allowed = Vec::new();
    for (index, route) in routes.iter().enumerate() {
        let Some(parameter) = parameter(route.path, path) else { continue };
        if route.method == method {
            return Ok((index, parameter));
        }
        allowed.push(route.method);
    }
    Err(refusal(&allowed))
}

fn parameter<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    match pattern.split_once('{') {
        Some((prefix, _)) => path.strip_prefix(prefix).filter(|rest| !rest.is_empty() && !rest.contains('/')),
        None => (pattern == path).then_some(""),
    }
}

fn refusal(allowed: &[&str]) -> Problem {
    if allowed.is_empty() {
        return Problem::new(&problem::NOT_FOUND, "There is nothing at this path.");
    }
    let mut allow = allowed.join(", ");
    if allowed.contains(&"GET") {
        allow.push_str(", HEAD");
    }
    let mut refusal = Problem::new(&problem::METHOD_NOT_ALLOWED, format!("This path has {allow}."));
    refusal.allow = Some(allow);
    refusal
}
