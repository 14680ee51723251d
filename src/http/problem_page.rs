//! `GET /errors/{code}`: the description of a problem code, which `type` in a problem document refers to.

use hyper::header::HeaderValue;

use super::http_response::HttpResponse;
use super::problem::{ALL, NOT_FOUND, Problem};
use super::respond;

/// The page with one section for each code. It is part of the program, so that it describes this version and needs no network.
const PAGE: &str = include_str!("../../docs/errors.md");

/// The description of a code as text.
///
/// # Errors
///
/// `not_found` if no problem has this code.
pub(super) fn get(code: &str) -> Result<HttpResponse, Problem> {
    let section = section(code).ok_or_else(|| Problem::new(&NOT_FOUND, "No problem has this code."))?;
    let mut text = section.to_owned();
    if text.contains("](") {
        text.push_str("\nLinks are relative to the directory docs/ of the source code.\n");
    }
    Ok(respond::bytes(HeaderValue::from_static("text/plain; charset=utf-8"), text))
}

/// The section of the page, with its heading. The page has other sections too, which belong to no code.
fn section(code: &str) -> Option<&'static str> {
    let kind = ALL.iter().find(|kind| kind.code == code)?;
    let start = PAGE.find(&format!("\n#### {}\n", kind.code))? + 1;
    let rest = &PAGE[start..];
    Some(rest.find("\n#").map_or(rest, |end| &rest[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_section_and_only_its_own() {
        for kind in ALL {
            let section =
                section(kind.code).unwrap_or_else(|| panic!("docs/errors.md: no section {}", kind.code));
            let retry = if kind.retryable { "retryable" } else { "not retryable" };
            let first = format!("#### {}\n\nStatus {}, {retry}.", kind.code, kind.status);
            assert!(section.starts_with(&first), "{section}");
            assert_eq!(section.matches("####").count(), 1, "{section}");
            assert!(section.ends_with('\n') && section.contains("**Remedy.**"), "{section}");
        }
    }

    #[test]
    fn sections_of_other_things_are_not_served() {
        for other in ["", "nothing", "forebay 64", "forebay-64", "queue_full\n", "QUEUE_FULL"] {
            assert!(section(other).is_none(), "{other}");
        }
    }
}
