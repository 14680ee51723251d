//! Reasons to refuse a body. Their texts never contain values, because bodies may contain personal data.

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
    /// Not one JSON object.
    #[error("the text is not one JSON object, such as {{\"id\":\"o-1\"}}")]
    NotAnObject,
    /// Not one JSON array.
    #[error("the body must be one JSON array of events")]
    NotAnArray,
    /// An event without data, although the kind has a schema or a key in the data.
    #[error("the event has no data, but the schema or key of its kind requires data")]
    NoData,
    /// Malformed JSON.
    #[error("the body is not valid JSON at line {line}, column {column}")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Other text after a complete JSON value.
    #[error(
        "the body is not one JSON value: other text follows at line {line}, column {column}; a batch of JSON needs \
         Content-Type application/x-ndjson"
    )]
    TrailingText {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// A number that is too large for a 64-bit float, in a body whose schema must be checked.
    #[error(
        "the number that ends at line {line}, column {column} is out of range: only numbers below 1.8e308 can be checked"
    )]
    NumberOutOfRange {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Objects and arrays are nested more than [`super::MAX_DEPTH`] levels.
    #[error("objects and arrays are nested more than {} levels deep", super::MAX_DEPTH)]
    TooDeep,
    /// A member name occurs twice in an object.
    #[error("an object has two members of the same name")]
    Duplicate {
        /// The name, shortened.
        name: String,
    },
    /// The value at the key's pointer is missing, or is neither a string nor a number.
    #[error("`{pointer}` must be a string or a number, because it is the command's key")]
    NoKey {
        /// The pointer, as configured.
        pointer: String,
    },
    /// The key is a string with a NUL character or a lone surrogate.
    #[error("`{pointer}` contains a character that is not allowed in a key")]
    BadKey {
        /// The pointer, as configured.
        pointer: String,
    },
    /// The key is longer than [`super::MAX_KEY_BYTES`].
    #[error("`{pointer}` is longer than {} bytes, the limit for a key", super::MAX_KEY_BYTES)]
    LongKey {
        /// The pointer, as configured.
        pointer: String,
    },
    /// The body does not satisfy the schema of its kind. Has 1 to
    /// [`MAX_ERRORS_PER_BODY`](crate::bounded_errors::MAX_ERRORS_PER_BODY) violations.
    #[error("the body does not satisfy the schema of its kind; see `errors`")]
    Schema(Vec<Violation>),
}

/// A violation of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into the body. Empty for the body itself.
    pub pointer: String,
    /// Description of the violation, without the value.
    pub detail: String,
}

impl Rejection {
    /// Whether the body cannot be read as JSON. `false` if it is readable but not allowed.
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
                | TrailingText { .. }
                | NumberOutOfRange { .. }
                | TooDeep
                | Duplicate { .. }
        )
    }

    /// Pointer to the first invalid member. `None` if the error does not belong to a member.
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::NoKey { pointer } | Self::BadKey { pointer } | Self::LongKey { pointer } => Some(pointer),
            Self::Schema(violations) => violations.first().map(|violation| violation.pointer.as_str()),
            _ => None,
        }
    }
}
