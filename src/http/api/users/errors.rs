//! Converts errors of the user service to problems.

use std::borrow::Cow;
use std::time::Duration;

use crate::auth::TokenError;
use crate::command::CommandStatus;
use crate::http::problem;
use crate::http::problem::{ErrorDetail, Problem};
use crate::users;
use crate::users::UserError;

/// The problem for a registration that was accepted and then refused by the database.
pub fn rejected(status: &CommandStatus) -> Problem {
    let reason = status.reason.as_deref().unwrap_or_default();
    match reason.strip_prefix("taken: ") {
        Some(field) => taken(field.to_owned().into()),
        None => Problem::new(&problem::REJECTED, format!("The registration was refused: {reason}.")),
    }
}

fn taken(field: Cow<'static, str>) -> Problem {
    Problem::new(&problem::TAKEN, format!("Another user has this {field}.")).field(field)
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Invalid(errors) => {
                let mut problem = Self::new(&problem::INVALID_USER, "See `errors` for each field.");
                problem.field = errors.first().map(|error| Cow::Owned(error.field.clone()));
                // The pointer to the whole body is empty (RFC 6901).
                let pointer = |field: &str| match field {
                    "" => String::new(),
                    name => format!("/{name}"),
                };
                let place = |e: &users::FieldError| ErrorDetail::new(pointer(&e.field), &*e.detail);
                problem.errors = errors.iter().map(place).collect();
                problem
            }
            UserError::Taken(field) => taken(Cow::Borrowed(field)),
            UserError::NotFound => Self::new(&problem::NOT_FOUND, "No user has this name."),
            UserError::FormerUser => TokenError::Invalid.into(),
            UserError::WrongPassword => {
                Self::new(&problem::WRONG_PASSWORD, "Send the current password as `old_password`.")
                    .field("old_password")
            }
            UserError::InProgress => Self::new(
                &problem::UNDER_WAY,
                "Another request for the same value, perhaps your own, is in progress. Try again to see its result.",
            ),
            UserError::ClockBehind { retry_after } => {
                let detail = "The command was not accepted, because the newer change would override it. An operator must \
                              synchronise the daemons' clocks.";
                Self { retry_after: Some(retry_after), ..Self::new(&problem::CLOCK_BEHIND, detail) }
            }
            UserError::ReservationStore => {
                Self::new(&problem::MARKERS_UNAVAILABLE, "The command was not accepted. Try again later.")
            }
            UserError::Database => {
                Self::new(&problem::DATABASE_UNAVAILABLE, "The command was not accepted. Try again later.")
            }
            UserError::Overloaded => {
                Self::new(&problem::OVERLOADED, "Too many commands wait to be checked. Try again later.")
            }
            UserError::Hashing { retry_after } => {
                let busy =
                    Self::new(&problem::HASHING_BUSY, "The command was not accepted. Try again later.");
                Self { retry_after: Some(retry_after), ..busy }
            }
            UserError::Submit(error) => Self::from_submit_error(&error, Duration::from_secs(1)),
        }
    }
}
