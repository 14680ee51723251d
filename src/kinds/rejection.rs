//! Why a body may not enter, in words that never repeat what stands in it: bodies hold people's data.

/// Why a body was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Not UTF-8.
    #[error("the body is not valid UTF-8")]
    NotUtf8,
    /// A NUL byte.
    #[error("the body contains a NUL byte")]
    Nul,
    /// A byte order mark.
    #[error("the body begins with a byte order mark (BOM); send the JSON text without it")]
    ByteOrderMark,
    /// Something else than one JSON object.
    #[error("the body must be one JSON object")]
    NotAnObject,
    /// Something else than one JSON array.
    #[error("the body must be one JSON array of events")]
    NotAnArray,
    /// An event without data, of a kind with a schema or a key in the data.
    #[error("the event has no data, and the schema or key of its kind needs it")]
    NoData,
    /// Malformed JSON.
    #[error("the body is not valid JSON at line {line}, column {column}")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A number that no 64-bit floating-point number can hold, where its value has to be known.
    #[error(
        "the number that ends at line {line}, column {column} is out of range: only numbers below 1.8e308 can be checked"
    )]
    NumberOutOfRange {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Objects and arrays inside each other beyond [`super::MAX_DEPTH`].
    #[error("objects and arrays are nested more than {} levels deep", super::MAX_DEPTH)]
    TooDeep,
    /// A member name that stands twice in its object.
    #[error("an object has two members of the same name")]
    Duplicate {
        /// Its name, shortened.
        name: String,
    },
    /// The key pointer finds neither a string nor a number.
    #[error("`{pointer}` must be a string or a number: it is the command's key")]
    NoKey {
        /// The pointer, as configured.
        pointer: String,
    },
    /// A string that cannot be a key: a NUL in it, or half a surrogate pair.
    #[error("`{pointer}` holds a character that a key may not have")]
    BadKey {
        /// The pointer, as configured.
        pointer: String,
    },
    /// A key over [`super::MAX_KEY_BYTES`].
    #[error("`{pointer}` is longer than {} bytes, the most a key may have", super::MAX_KEY_BYTES)]
    LongKey {
        /// The pointer, as configured.
        pointer: String,
    },
    /// The schema of the kind is not satisfied; at least one violation, at most
    /// [`MAX_ERRORS_PER_BODY`](crate::reported::PER_BODY).
    #[error("the body does not satisfy the schema of its kind")]
    Schema(Vec<Violation>),
}

/// One place where a schema is not satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into the body; empty for the body itself.
    pub pointer: String,
    /// What is wrong there, without the value.
    pub detail: String,
}

impl Rejection {
    /// Whether the body could not even be read as JSON, as opposed to saying what it may not.
    pub fn is_malformed(&self) -> bool {
        use Rejection::*;
        matches!(
            self,
            NotUtf8
                | Nul
                | ByteOrderMark
                | NotAnObject
                | NotAnArray
                | NotJson { .. }
                | NumberOutOfRange { .. }
                | TooDeep
                | Duplicate { .. }
        )
    }

    /// The member at fault, when there is exactly one to name first.
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::NoKey { pointer } | Self::BadKey { pointer } | Self::LongKey { pointer } => Some(pointer),
            Self::Schema(violations) => violations.first().map(|violation| violation.pointer.as_str()),
            _ => None,
        }
    }
}
