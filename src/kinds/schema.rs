//! The JSON Schema of a kind. Schemas are loaded at start, never from the network. Error messages contain no values.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::{Rejection, Violation};
use crate::bounded_errors::{BoundedErrors, MAX_ERRORS_PER_BODY, truncated};

/// Embedded schemas, so that the default configuration needs no files.
const BUILTIN: [(&str, &str); 1] =
    [("builtin:order.create", include_str!("../../config/schemas/order.create.json"))];
/// Maximum bytes of a pointer and of a message. Both contain member names, which may be as long as a body.
const MAX_TEXT_BYTES: usize = 300;

pub(super) struct Schema {
    /// The schema as in its file.
    source: Value,
    validator: Validator,
}

impl Schema {
    /// Reads and compiles a schema. The error is the violated rule and its cause.
    pub fn load(file: &str) -> Result<Self, String> {
        let text = match BUILTIN.iter().find(|(name, _)| *name == file) {
            Some((_, text)) => (*text).to_owned(),
            None => std::fs::read_to_string(file).map_err(|e| format!("a readable file ({e})"))?,
        };
        let source: Value = serde_json::from_str(&text).map_err(|e| format!("a JSON file ({e})"))?;
        let validator = jsonschema::options().offline().build(&source);
        let validator = validator.map_err(|e| format!("a JSON Schema without remote references ({e})"))?;
        Ok(Self { source, validator })
    }

    /// The schema as it was loaded.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Checks a body. The error lists the violations, up to a limit.
    pub fn check(&self, body: &Value) -> Result<(), Rejection> {
        if self.validator.is_valid(body) {
            return Ok(());
        }
        let violation = |error: ValidationError<'_>| Violation {
            pointer: truncated(&error.instance_path().to_string(), MAX_TEXT_BYTES),
            detail: truncated(&masked(&error), MAX_TEXT_BYTES),
        };
        let violations: BoundedErrors<_, MAX_ERRORS_PER_BODY> =
            self.validator.iter_errors(body).map(violation).collect();
        Err(Rejection::Schema(violations.into_vec()))
    }
}

/// The error message without the value. (The library's masking does not cover the inner error of `propertyNames`.)
fn masked(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::PropertyNames { error } => error.masked_with("a member name").to_string(),
        _ => error.masked().to_string(),
    }
}
