//! Entries of a listener's route table. Matching, metrics and the OpenAPI description use them.

use hyper::Method;

use crate::http::problem;
use crate::http::problem::Problem;

/// A method on a path.
pub struct Route<E: 'static> {
    /// HTTP method. `GET` also serves `HEAD`.
    pub method: &'static str,
    /// Path. One segment may be a parameter: `{name}`.
    pub path: &'static str,
    /// Operation name in the OpenAPI description. Generated clients use it as a function name. Therefore it must not
    /// change once published.
    pub operation: &'static str,
    /// Short description of the operation.
    pub summary: &'static str,
    /// Status of the successful response.
    pub success_status: u16,
    /// Schema of the request body, for the OpenAPI description. `None` if the operation has no body.
    pub body: Option<&'static str>,
    /// Schema of the successful response. `text` is plain text, which has no schema.
    pub response_schema: &'static str,
    /// The handler.
    pub endpoint: E,
}

impl<E> Route<E> {
    /// Whether the route accepts commands.
    pub fn is_write(&self) -> bool {
        self.success_status == 202
    }
}

/// Finds the route of a request. Returns its index in the table and its parameter (empty without one).
/// Error: 404 or 405.
pub fn find<'p, E>(routes: &[Route<E>], method: &Method, path: &'p str) -> Result<(usize, &'p str), Problem> {
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
    let Some((before, rest)) = pattern.split_once('{') else { return (pattern == path).then_some("") };
    let (_, after) = rest.split_once('}').unwrap_or((rest, ""));
    let parameter = path.strip_prefix(before)?.strip_suffix(after)?;
    (!parameter.is_empty() && !parameter.contains('/')).then_some(parameter)
}

fn refusal(allowed: &[&str]) -> Problem {
    if allowed.is_empty() {
        return Problem::new(&problem::NOT_FOUND, "No resource has this path.");
    }
    let mut allow = allowed.join(", ");
    if allowed.contains(&"GET") {
        allow.push_str(", HEAD");
    }
    let mut refusal = Problem::new(&problem::METHOD_NOT_ALLOWED, format!("Methods of this path: {allow}."));
    refusal.allow = Some(allow);
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_parameters_match_exactly_one_segment() {
        assert_eq!(parameter("/users", "/users"), Some(""));
        assert_eq!(parameter("/users/{name}", "/users/ada"), Some("ada"));
        assert_eq!(parameter("/users/{name}/password", "/users/ada/password"), Some("ada"));
        for (pattern, path) in [
            ("/users/{name}", "/users/"),
            ("/users/{name}", "/users/ada/password"),
            ("/users/{name}/password", "/users//password"),
            ("/users/{name}/password", "/users/password"),
        ] {
            assert_eq!(parameter(pattern, path), None, "{path}");
        }
    }
}
