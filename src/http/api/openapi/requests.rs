//! Schemas of request bodies. They are written by hand, because `users` deserialises no types: it reads forms member by
//! member to report all errors at once.

use serde_json::{Map, Value, json};

/// The schema of each request body.
pub fn schemas() -> [(&'static str, Value); 6] {
    let nickname = json!({
        "type": ["string", "null"], "minLength": 1, "maxLength": 64,
        "description": format!("It has {}.", crate::users::NICKNAME_RULE),
    });
    let password = json!({"type": "string", "minLength": 8, "maxLength": 72, "description": password_rule()});
    let new_user = json!({
        "type": "object",
        "required": ["name", "email", "phone", "password"],
        "additionalProperties": false,
        "properties": {
            "name": name(), "email": email(), "phone": phone(), "password": password, "nickname": nickname,
        },
    });
    let change = json!({
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "properties": {
            "name": {"type": "string", "description": "Must equal the name in the path"},
            "email": email(), "phone": phone(), "nickname": nickname,
        },
    });
    let password_change = json!({
        "type": "object",
        "required": ["password"],
        "additionalProperties": false,
        "properties": {"old_password": {"type": "string"}, "password": password},
    });
    let logout = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {"refresh_token": {"type": "string"}},
        "description": "Empty if the access token is in `Authorization`",
    });
    [
        ("new_user", new_user),
        ("change", change),
        ("password_change", password_change),
        ("credentials", strings(&["name", "password"])),
        ("refresh", strings(&["refresh_token"])),
        ("logout", logout),
    ]
}

/// An example of the body with this schema.
pub fn example(body: &str) -> Value {
    match body {
        "new_user" => json!({
            "name": "ada", "email": "ada@example.org", "phone": "+49 30 1234567", "password": "correct horse",
        }),
        "change" => json!({"nickname": "Countess"}),
        "password_change" => json!({"old_password": "correct horse", "password": "battery staple"}),
        "credentials" => json!({"name": "ada", "password": "correct horse"}),
        _ => json!({"refresh_token": "TOKEN"}),
    }
}

/// The schema of an object with these members, all of them strings.
fn strings(members: &[&str]) -> Value {
    let properties: Map<String, Value> =
        members.iter().map(|member| ((*member).to_owned(), json!({"type": "string"}))).collect();
    json!({"type": "object", "required": members, "additionalProperties": false, "properties": properties})
}

/// Schema of a user name. The daemon removes spaces around it.
fn name() -> Value {
    let pattern = "^ *[A-Za-z0-9][A-Za-z0-9._-]{0,63} *$";
    json!({"type": "string", "pattern": pattern, "description": crate::users::NAME_RULE})
}

/// Schema of an email address: a dot-atom of RFC 5322, `@`, and a host name. The daemon removes spaces around it.
fn email() -> Value {
    let atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
    let label = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
    let pattern = format!(r"^ *{atom}(\.{atom})*@{label}(\.{label})+ *$");
    json!({"type": "string", "pattern": pattern, "maxLength": 254})
}

/// Schema of a phone number: digits with the usual separators. The number of digits depends on the country, so the
/// pattern does not check it exactly.
fn phone() -> Value {
    let rule = crate::users::PHONE_RULE;
    let description = format!(
        "It is {rule}. It is stored in E.164 format, such as `+4930123456`. `+` and the country code may be omitted only if \
         the operator has set a region (`[users] phone_region`)."
    );
    let pattern = r"^ *[(\[]?\+?[ ./()-]*[0-9]([ ./()\[\]-]*[0-9]){3,19}[ ./()-]*$";
    let examples = ["+49 30 1234567"];
    json!({
        "type": "string", "pattern": pattern, "maxLength": 64, "description": description, "examples": examples,
    })
}

fn password_rule() -> String {
    format!("It has {}.", crate::users::PASSWORD_RULE)
}
