//! The log. (Format specification follows with the code.)

mod log;
mod types;

pub use log::Confirmation;
pub use log::Cursor;
pub use log::Fate;
pub use log::Figures;
pub use log::Log;
pub use log::ReadError;
pub use types::Entry;
pub use types::Frame;
pub use types::Identity;
pub use types::Letter;
pub use types::Lsn;
pub use types::Record;
