//! Refusals of the user service as problem documents.

use std::borrow::Cow;
use std::time::Duration;

use crate::auth::TokenError;
use crate::command::Status;
use crate::http::problem;
use crate::http::problem::{Place, Problem};
use crate::users;
use crate::users::UserError;

/// A registration that the database refused after it was accepted.
pub fn rejected(status: &Status) -> Problem {
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
                let mut problem = Self::new(&problem::INVALID_USER, "See `errors` for each member.");
                problem.field = errors.first().map(|error| Cow::Owned(error.field.clone()));
                let place = |e: &users::FieldError| Place::new(format!("/{}", e.field), &*e.detail);
                problem.errors = errors.iter().map(place).collect();
                problem
            }
            UserError::Taken(field) => taken(Cow::Borrowed(field)),
            UserError::NotFound => Self::new(&problem::NOT_FOUND, "No user has this name."),
            UserError::FormerUser => TokenError::Invalid.into(),
            UserError::WrongPassword => {
                Self::new(&problem::WRONG_PASSWORD, "The old password is wrong.").field("old_password")
            }
            UserError::UnderWay => Self::new(
                &problem::UNDER_WAY,
                "Another request for the same name, e-mail address or phone number is not decided yet. Try again.",
            ),
            UserError::ClockBehind { retry_after } => {
                let detail = "Nothing was accepted, because a newer change of this user would supersede it. An operator must \
                              synchronise the clocks of the daemons.";
                Self { retry_after: Some(retry_after), ..Self::new(&problem::CLOCK_BEHIND, detail) }
            }
            UserError::Markers => {
                Self::new(&problem::MARKERS_UNAVAILABLE, "Nothing was accepted. Try again.")
            }
            UserError::Database => {
                Self::new(&problem::DATABASE_UNAVAILABLE, "Nothing was accepted. Try again.")
            }
            UserError::Crowded => {
                Self::new(&problem::OVERLOADED, "Too many commands wait to be checked. Try again.")
            }
            UserError::Hashing { retry_after } => {
                let busy = Self::new(&problem::HASHING_BUSY, "Nothing was accepted. Try again.");
                Self { retry_after: Some(retry_after), ..busy }
            }
            UserError::Submit(error) => Self::submit(&error, Duration::from_secs(1)),
        }
    }
}
