//! Batches with one command per line. All commands are accepted, or none.

use bytes::Bytes;

use crate::bounded_errors::{BoundedErrors, MAX_ERRORS_PER_RESPONSE};
use crate::http::problem;
use crate::http::problem::{ErrorDetail, Problem};

/// Maximum number of commands in one request.
pub const MAX_LINES: usize = 10_000;

/// Checks each line with `admit` and returns the results in order. A full batch takes about 0.1 s.
pub fn check_lines<T>(
    body: &Bytes,
    mut admit: impl FnMut(Bytes) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(&problem::EMPTY_BATCH, "Send one JSON object per line."));
    }
    // The final line feed ends the last line. It does not begin an empty one.
    let text = body.strip_suffix(b"\n").unwrap_or(body);
    let count = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    if count > MAX_LINES {
        let detail = format!("A batch may have at most {MAX_LINES} commands.");
        return Err(Problem::new(&problem::TOO_MANY_LINES, detail));
    }
    let mut admitted = Vec::with_capacity(count);
    let mut refusals = BatchErrors::default();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match admit(body.slice_ref(line)) {
            Ok(command) => admitted.push(command),
            Err(problem) => refusals.add(&problem, |place| place.at(index + 1)),
        }
        if refusals.is_full() {
            break;
        }
    }
    refusals.into_result(admitted)
}

/// Errors of the commands in a batch.
#[derive(Default)]
pub(super) struct BatchErrors {
    errors: BoundedErrors<ErrorDetail, MAX_ERRORS_PER_RESPONSE>,
    /// The problem type that decides the status of the response: the one with the lowest status. Unreadable commands
    /// (400) come before commands that are not allowed (422).
    status_type: Option<&'static problem::Type>,
}

impl BatchErrors {
    /// Adds the errors of one command. `at` adds the position in the batch to an error.
    pub(super) fn add(&mut self, problem: &Problem, at: impl Fn(ErrorDetail) -> ErrorDetail) {
        if self.status_type.is_none_or(|worst| problem.kind.status < worst.status) {
            self.status_type = Some(problem.kind);
        }
        if problem.errors.is_empty() {
            // A field that is not a pointer is a name, of a header or of a duplicate member.
            let pointer = problem.field.as_deref().filter(|field| field.starts_with('/'));
            self.errors.push(at(ErrorDetail::new(pointer.unwrap_or_default(), &*problem.detail)));
        }
        for place in problem.errors.iter() {
            self.errors.push(at(place.clone()));
        }
    }

    /// Whether the maximum number of reported errors is reached.
    pub(super) fn is_full(&self) -> bool {
        self.errors.is_full()
    }

    /// Returns `admitted` if no error was added.
    pub(super) fn into_result<T>(self, admitted: Vec<T>) -> Result<Vec<T>, Problem> {
        let Some(kind) = self.status_type else { return Ok(admitted) };
        let detail = if self.errors.is_full() {
            format!(
                "No command of the batch was accepted. `errors` lists the first errors, at most {MAX_ERRORS_PER_RESPONSE}."
            )
        } else {
            "No command of the batch was accepted. See `errors`.".to_owned()
        };
        let mut problem = Problem::new(kind, detail);
        problem.errors = self.errors;
        Err(problem)
    }
}
