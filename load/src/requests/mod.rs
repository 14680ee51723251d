//! What is sent: operations, and where each request of them goes.

mod call;
mod expect;
mod headers;
mod mix;
mod request;

pub use call::Call;
pub use expect::StatusSet;
pub use headers::{EnvHeader, PlainHeader, read_file};
pub use mix::Mix;
pub use request::RequestTemplate;
