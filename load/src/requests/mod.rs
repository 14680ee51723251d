//! Requests: operations, templates, headers and sessions.

mod authenticated_request;
mod headers;
mod mix;
mod request_template;
mod status_set;

pub use authenticated_request::AuthenticatedRequest;
pub use headers::{EnvHeader, PlainHeader, read_file};
pub use mix::Mix;
pub use request_template::RequestTemplate;
pub use status_set::StatusSet;
