//! A batch: one command a line, all of them or none.

use bytes::Bytes;

use crate::http::problem;
use crate::http::problem::{Place, Problem};
use crate::reported::{PER_ANSWER, Reported};

/// The most commands in one request.
pub const MAX_LINES: usize = 10_000;

/// Checks each line with `admit`, and returns what that made of them, in order. A full batch takes a tenth of a second.
pub fn lines<T>(body: &Bytes, mut admit: impl FnMut(Bytes) -> Result<T, Problem>) -> Result<Vec<T>, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(&problem::EMPTY_BATCH, "Send one JSON object per line."));
    }
    // The last line end is an end, not a beginning.
    let text = body.strip_suffix(b"\n").unwrap_or(body);
    let count = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    if count > MAX_LINES {
        let detail = format!("A batch may contain at most {MAX_LINES} commands.");
        return Err(Problem::new(&problem::TOO_MANY_LINES, detail));
    }
    let mut admitted = Vec::with_capacity(count);
    let mut refusals = Refusals::default();
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
    refusals.or(admitted)
}

/// What is wrong, command by command.
#[derive(Default)]
pub(super) struct Refusals {
    errors: Reported<Place, PER_ANSWER>,
    /// The kind of problem that decides the answer's status: what cannot be read comes before what is not allowed.
    worst: Option<&'static problem::Type>,
}

impl Refusals {
    /// Adds what is wrong with one command. `at` says where in the batch that is.
    pub(super) fn add(&mut self, problem: &Problem, at: impl Fn(Place) -> Place) {
        if self.worst.is_none_or(|worst| problem.kind.status < worst.status) {
            self.worst = Some(problem.kind);
        }
        if problem.errors.is_empty() {
            // Other fields are names: of a header, or of a member that stands twice.
            let pointer = problem.field.as_deref().filter(|field| field.starts_with('/'));
            self.errors.push(at(Place::new(pointer.unwrap_or_default(), &*problem.detail)));
        }
        for place in problem.errors.iter() {
            self.errors.push(at(place.clone()));
        }
    }

    /// Whether no more will be reported.
    pub(super) fn is_full(&self) -> bool {
        self.errors.is_full()
    }

    /// `admitted`, if nothing is wrong.
    pub(super) fn or<T>(self, admitted: Vec<T>) -> Result<Vec<T>, Problem> {
        let Some(kind) = self.worst else { return Ok(admitted) };
        let mut problem = Problem::new(kind, "No command of the batch was accepted. See `errors`.");
        problem.errors = self.errors;
        Err(problem)
    }
}
