//! Parses and normalises request bodies. All errors are reported at once, and unknown fields are rejected.

use serde_json::{Map, Value};

use super::nickname::nickname;
use super::phone::{PhoneRegion, phone};
use super::{FieldError, field, password};
use crate::bounded_errors::{BoundedErrors, MAX_ERRORS_PER_BODY, truncated};
use crate::command::Secret;

/// Maximum length of an unknown field's name in an error.
const MAX_SHOWN: usize = 64;

/// A valid registration.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// Name, trimmed.
    pub name: String,
    /// E-mail address in lower case.
    pub email: String,
    /// Phone number in E.164.
    pub phone: String,
    /// Nickname in composed form (NFC).
    pub nickname: Option<String>,
    /// Password in plain text and normal form.
    pub password: Secret,
}

/// The changes of a `PUT`. Absent fields do not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserChange {
    /// The new e-mail address.
    pub email: Option<String>,
    /// The new phone number.
    pub phone: Option<String>,
    /// The new nickname; `Some(None)` removes it.
    pub nickname: Option<Option<String>>,
}

/// A new password.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    /// The old password, if the caller must know it.
    pub old: Option<Secret>,
    /// The new password.
    pub new: Secret,
}

/// Parses `{"name","email","phone","password"}` and optionally `"nickname"`. `region`: country whose phone numbers need
/// no country code.
pub fn new_user(
    members: Map<String, Value>,
    region: Option<PhoneRegion>,
) -> Result<NewUser, Vec<FieldError>> {
    let mut form = FieldReader::new(members);
    let name = form.required("name", field::name);
    let email = form.required("email", field::email);
    let phone = form.required("phone", |text| phone(text, region));
    let nickname = form.nullable("nickname", nickname).flatten();
    let others = [name.as_deref(), email.as_deref(), phone.as_deref()];
    let others: Vec<&str> = others.into_iter().flatten().collect();
    let password = form.required("password", |text| new_password("password", text, &others));
    form.finish()?;
    match (name, email, phone, password) {
        (Some(name), Some(email), Some(phone), Some(password)) => {
            Ok(NewUser { name, email, phone, nickname, password })
        }
        // `finish` has rejected a body without one of them.
        _ => Err(Vec::new()),
    }
}

/// Parses `"email"`, `"phone"` and `"nickname"`, at least one of them. A `"name"` must equal the one in the path.
/// `region`: country whose phone numbers need no country code.
pub fn change(
    members: Map<String, Value>,
    name: &str,
    region: Option<PhoneRegion>,
) -> Result<UserChange, Vec<FieldError>> {
    let mut form = FieldReader::new(members);
    form.optional("name", |text| match text.trim() == name {
        true => Ok(()),
        false => {
            Err(FieldError::new("name", "must be the name in the path, because a name cannot be changed"))
        }
    });
    let change = UserChange {
        email: form.optional("email", field::email),
        phone: form.optional("phone", |text| phone(text, region)),
        nickname: form.nullable("nickname", nickname),
    };
    if form.errors.is_empty() && change == (UserChange { email: None, phone: None, nickname: None }) {
        form.errors.push(FieldError::new("", "must have at least one of `email`, `phone` and `nickname`"));
    }
    form.finish()?;
    Ok(change)
}

/// Parses `{"old_password","password"}`.
pub fn password_change(members: Map<String, Value>, name: &str) -> Result<PasswordChange, Vec<FieldError>> {
    let mut form = FieldReader::new(members);
    let old = form.optional("old_password", |text| Ok(password::normalized(text)));
    let new = form.required("password", |text| new_password("password", text, &[name]));
    form.finish()?;
    new.map(|new| PasswordChange { old, new }).ok_or_else(Vec::new)
}

/// Name and password of a login.
pub struct LoginForm {
    /// Name, trimmed; empty if it cannot belong to a user.
    pub name: String,
    /// Password in plain text and normal form.
    pub password: Secret,
}

/// Parses `{"name","password"}`. Errors do not reveal which names and passwords are possible.
pub fn credentials(members: Map<String, Value>) -> Result<LoginForm, Vec<FieldError>> {
    let mut form = FieldReader::new(members);
    let name = form.required("name", |text| Ok(field::name(text).unwrap_or_default()));
    let password = form.required("password", |text| Ok(password::normalized(text)));
    form.finish()?;
    name.zip(password).map(|(name, password)| LoginForm { name, password }).ok_or_else(Vec::new)
}

/// Parses `{"refresh_token"}`.
pub fn refresh_token(members: Map<String, Value>) -> Result<Secret, Vec<FieldError>> {
    let mut form = FieldReader::new(members);
    let token = form.required("refresh_token", |text| Ok(Secret::new(text.to_owned())));
    form.finish()?;
    token.ok_or_else(Vec::new)
}

fn new_password(field: &str, text: &str, others: &[&str]) -> Result<Secret, FieldError> {
    let password = password::normalized(text);
    let named = |error| FieldError { field: field.to_owned(), ..error };
    password::check(password.expose(), others).map_err(named)?;
    Ok(password)
}

/// Reads fields one by one. The remaining fields are unknown.
struct FieldReader {
    members: Map<String, Value>,
    errors: BoundedErrors<FieldError, MAX_ERRORS_PER_BODY>,
}

impl FieldReader {
    fn new(members: Map<String, Value>) -> Self {
        Self { members, errors: BoundedErrors::default() }
    }

    fn required<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, FieldError>) -> Option<T> {
        if !self.members.contains_key(name) {
            self.errors.push(FieldError::new(name, "is required"));
            return None;
        }
        self.optional(name, read)
    }

    fn optional<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, FieldError>) -> Option<T> {
        match self.members.remove(name)? {
            Value::String(text) => self.collect(read(&text)),
            _ => self.collect(Err(FieldError::new(name, "must be a string"))),
        }
    }

    /// Reads a field that may be null. Null means: remove the value.
    fn nullable<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, FieldError>,
    ) -> Option<Option<T>> {
        if self.members.get(name).is_some_and(Value::is_null) {
            self.members.remove(name);
            return Some(None);
        }
        self.optional(name, read).map(Some)
    }

    fn collect<T>(&mut self, read: Result<T, FieldError>) -> Option<T> {
        read.map_err(|error| self.errors.push(error)).ok()
    }

    fn finish(&mut self) -> Result<(), Vec<FieldError>> {
        for name in self.members.keys() {
            if self.errors.is_full() {
                break;
            }
            let shown = truncated(name, MAX_SHOWN);
            self.errors.push(FieldError::new(&shown, "is unknown; remove it"));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(std::mem::take(&mut self.errors).into_vec()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn members(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn fields(errors: Vec<FieldError>) -> Vec<String> {
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn a_registration_is_normalised() {
        let sent = json!({"name": " ada ", "email": "Ada@Example.org", "phone": "+1 555 010-9999",
                          "password": "correct horse", "nickname": null});
        let user = new_user(members(sent), None).unwrap();
        assert_eq!((&*user.name, &*user.email, &*user.phone), ("ada", "ada@example.org", "+15550109999"));
        assert_eq!(user.nickname, None);
        assert_eq!(user.password.expose(), "correct horse");
    }

    #[test]
    fn all_errors_are_reported_at_once_without_values() {
        let sent = json!({"name": "a/b", "email": 7, "password": "geheim", "isAdmin": true});
        let errors = new_user(members(sent), None).unwrap_err();
        assert!(!format!("{errors:?}").contains("geheim"));
        assert_eq!(fields(errors), ["name", "email", "phone", "password", "isAdmin"]);
    }

    #[test]
    fn the_number_of_reported_errors_is_limited() {
        let members = (0..10_000).map(|number| (format!("{number:0>200}"), Value::Null)).collect();
        let errors = new_user(members, None).unwrap_err();
        assert_eq!(errors.len(), MAX_ERRORS_PER_BODY);
        assert_eq!(errors[3].field, "password", "errors of known fields come first");
        assert!(errors.iter().all(|error| error.field.len() < 70));
    }

    #[test]
    fn a_change_needs_a_field_and_keeps_the_name() {
        let change_of = |sent: Value| change(members(sent), "ada", None);
        assert_eq!(change_of(json!({"name": "ada", "nickname": null})).unwrap().nickname, Some(None));
        assert_eq!(fields(change_of(json!({})).unwrap_err()), [""]);
        assert_eq!(fields(change_of(json!({"name": "bob", "email": "b@x.org"})).unwrap_err()), ["name"]);
        assert_eq!(fields(change_of(json!({"email": null})).unwrap_err()), ["email"]);
        assert_eq!(
            fields(change_of(json!({"phone": "+1 555 010 9999", "password": "x"})).unwrap_err()),
            ["password"]
        );
    }

    #[test]
    fn a_national_number_is_read_with_the_configured_region() {
        let region = Some("GB".parse().unwrap());
        let sent = json!({"phone": "020 7946 0018"});
        let change = change(members(sent.clone()), "ada", region).unwrap();
        assert_eq!(change.phone.as_deref(), Some("+442079460018"));
        assert_eq!(fields(super::change(members(sent), "ada", None).unwrap_err()), ["phone"]);
    }

    #[test]
    fn every_password_field_is_normalised() {
        let (typed, normal) = ("cafe\u{301} au\u{a0}lait", "caf\u{e9} au lait");
        let login = credentials(members(json!({"name": "ada", "password": typed}))).unwrap();
        assert_eq!(login.password.expose(), normal);
        let sent = json!({"old_password": typed, "password": typed});
        let change = password_change(members(sent), "ada").unwrap();
        assert_eq!((change.old.unwrap().expose(), change.new.expose()), (normal, normal));
        let sent = json!({"name": "ada", "email": "a@x.org", "phone": "+15550109999", "password": typed});
        assert_eq!(new_user(members(sent), None).unwrap().password.expose(), normal);
    }

    #[test]
    fn a_new_password_must_obey_the_password_rules() {
        let sent = json!({"old_password": "x", "password": "correct horse"});
        let read = password_change(members(sent), "ada").unwrap();
        assert_eq!(read.old.unwrap().expose(), "x");
        assert_eq!(
            fields(password_change(members(json!({"password": "short"})), "ada").unwrap_err()),
            ["password"]
        );
    }
}
