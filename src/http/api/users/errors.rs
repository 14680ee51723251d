//! Refusals of the user service as problem documents.

use std::borrow::Cow;
use std::time::Duration;

use crate::auth::TokenError;
use crate::command::CommandStatus;
use crate::http::problem;
use crate::http::problem::{ErrorDetail, Problem};
use crate::users;
use crate::users::UserError;

/// A registration that the database refused after it was accepted.
pub fn rejected(status: &CommandStatus) -> Problem {
    let reason = status.reason.as_deref().unwrap_or_default();
    match reason.strip_prefix("taken: ") {
        Some(field) => taken(field.to_owned().into()),
        None => Problem::new(&problem::REJECTED, format!("The registration was refused: {reason}.")),
    }
}

fn taken(field: Cow<'static, str>) -> Problem {
    Problem::new(&problem::TAKEN, format!("This {field} is taken.")).field(field)
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Invalid(errors) => {
                let mut problem = Self::new(&problem::INVALID_USER, "See `errors` for each member.");
                problem.field = errors.first().map(|error| Cow::Owned(error.field.clone()));
                let place = |e: &users::FieldError| ErrorDetail::new(format!("/{}", e.field), &*e.detail);
                problem.errors = errors.iter().map(place).collect();
                problem
            }
            UserError::Taken(field) => taken(Cow::Borrowed(field)),
            UserError::NotFound => Self::new(&problem::NOT_FOUND, "No user has this name."),
            UserError::FormerUser => TokenError::Invalid.into(),
            UserError::WrongPassword => {
                Self::new(&problem::WRONG_PASSWORD, "The old password is wrong.").field("old_password")
            }
            UserError::InProgress => Self::new(
                &problem::UNDER_WAY,
                "Somebody, perhaps you, is just asking for the same; ask again to see who got it.",
            ),
            UserError::ClockBehind { retry_after } => {
                let detail = "Nothing was accepted: it would be superseded. An operator has to set the clocks of the \
                              daemons right.";
                Self { retry_after: Some(retry_after), ..Self::new(&problem::CLOCK_BEHIND, detail) }
            }
            UserError::ReservationStore => {
                Self::new(&problem::MARKERS_UNAVAILABLE, "Nothing was accepted; try again.")
            }
            UserError::Database => {
                Self::new(&problem::DATABASE_UNAVAILABLE, "Nothing was accepted; try again.")
            }
            UserError::Overloaded => {
                Self::new(&problem::OVERLOADED, "Too many commands wait to be checked; try again.")
            }
            UserError::Hashing { retry_after } => {
                let busy = Self::new(&problem::HASHING_BUSY, "Nothing was accepted; try again.");
                Self { retry_after: Some(retry_after), ..busy }
            }
            UserError::Submit(error) => Self::from_submit_error(&error, Duration::from_secs(1)),
        }
    }
}
