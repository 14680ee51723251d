//! One line of a listener's table: matching, metrics and the description of the interface come from it.

use hyper::Method;

use crate::http::problem;
use crate::http::problem::Problem;

/// A method on a path.
pub struct Route<E: 'static> {
    /// HTTP method; `GET` serves `HEAD` too.
    pub method: &'static str,
    /// Path; one of its segments may be `{name}`.
    pub path: &'static str,
    /// Name of the operation in the description of the interface. Generated clients name their functions after it: once
    /// published, it stays.
    pub operation: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// Status of its usual answer.
    pub usual: u16,
    /// Schema of its body, for the description of the interface; none: it has none.
    pub body: Option<&'static str>,
    /// Schema of its usual answer; `text` is plain text, which has none.
    pub answer: &'static str,
    /// What answers it.
    pub endpoint: E,
}

impl<E> Route<E> {
    /// Whether it accepts commands.
    pub fn is_write(&self) -> bool {
        self.usual == 202
    }
}

/// The matching route's place in the table and its parameter, or the refusal.
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
        return Problem::new(&problem::NOT_FOUND, "No resource exists at this path.");
    }
    let mut allow = allowed.join(", ");
    if allowed.contains(&"GET") {
        allow.push_str(", HEAD");
    }
    let mut refusal = Problem::new(&problem::METHOD_NOT_ALLOWED, format!("This path supports {allow}."));
    refusal.allow = Some(allow);
    refusal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_one_segment_wherever_it_stands() {
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
