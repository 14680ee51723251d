//! Schemas of response documents, generated from the serialised types.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::components::reference;
use crate::http::api::documents::{Accepted, AcceptedBatch, Empty, FinalBatch, StatusDocument, UserPage};
use crate::http::problem;
use crate::http::readiness::Health;
use crate::http::readiness::Readiness;
use crate::login::TokenPair;
use crate::users::Profile;

/// Final states of commands that the daemon does not apply itself.
const FINAL: [&str; 2] = ["sent", "dead"];
/// Final states of commands about users.
const USER_FINAL: [&str; 3] = [APPLIED, "rejected", "dead"];
const APPLIED: &str = "applied";

/// The schema of each response document, with the name that its type declares.
pub fn schemas() -> Map<String, Value> {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    let mut schemas = settings.into_generator();
    schemas.subschema_for::<Accepted<'_>>();
    schemas.subschema_for::<AcceptedBatch>();
    schemas.subschema_for::<Empty>();
    schemas.subschema_for::<FinalBatch<'_>>();
    schemas.subschema_for::<Health>();
    schemas.subschema_for::<problem::Document<'_>>();
    schemas.subschema_for::<Profile>();
    schemas.subschema_for::<Readiness>();
    schemas.subschema_for::<StatusDocument<'_>>();
    schemas.subschema_for::<TokenPair>();
    schemas.subschema_for::<UserPage<'_>>();
    let mut schemas = schemas.take_definitions(true);
    add_final(&mut schemas);
    schemas
}

/// Adds the schemas of statuses after a wait. These statuses have final states only.
fn add_final(schemas: &mut Map<String, Value>) {
    let status = schemas.get("status").cloned().unwrap_or_default();
    let mut add = |name: &str, description: &str, states: &[&str]| {
        let mut narrowed = status.clone();
        narrowed["description"] = json!(description);
        narrowed["properties"]["state"]["enum"] = json!(states);
        schemas.insert(name.to_owned(), narrowed);
    };
    add("final_status", "The final status of a command of a configured kind.", &FINAL);
    add("user_final_status", "The final status of a command about a user.", &USER_FINAL);
    add("registered", "The status of a registration that was applied.", &[APPLIED]);
    if let Some(batch) = schemas.get_mut("final_batch") {
        batch["properties"]["commands"]["items"] = reference("final_status");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{CommandId, CommandState, CommandStatus};
    use crate::units::Timestamp;

    const ALL: [CommandState; 5] = [
        CommandState::Accepted,
        CommandState::Sent,
        CommandState::Applied,
        CommandState::Rejected,
        CommandState::Dead,
    ];

    /// The name of the state, and whether a wait ends with it.
    fn shown(kind: &str, state: CommandState) -> (Value, bool) {
        let status = CommandStatus {
            id: CommandId::from_bytes([1; 25]),
            kind: kind.to_owned(),
            key: None,
            state,
            accepted_at: Timestamp(0),
            sent_at: None,
            kafka: None,
            finished_at: None,
            reason: None,
        };
        let document = serde_json::to_value(StatusDocument::from(&status)).unwrap();
        (document["state"].clone(), status.is_final())
    }

    #[test]
    fn final_status_schemas_have_exactly_the_final_states() {
        for state in ALL {
            let (name, is_final) = shown("user.create", state);
            assert_eq!(USER_FINAL.iter().any(|known| name == *known), is_final, "{name}");
            let (name, is_final) = shown("order.create", state);
            // Only the consumer applies or rejects a command.
            let is_possible = !matches!(state, CommandState::Applied | CommandState::Rejected);
            assert_eq!(FINAL.iter().any(|known| name == *known), is_final && is_possible, "{name}");
        }
    }

    #[test]
    fn each_status_schema_lists_its_states() {
        let schemas = schemas();
        for (name, states) in [
            ("status", json!(["accepted", "sent", "applied", "rejected", "dead"])),
            ("final_status", json!(["sent", "dead"])),
            ("user_final_status", json!(["applied", "rejected", "dead"])),
            ("registered", json!(["applied"])),
        ] {
            assert_eq!(schemas[name]["properties"]["state"]["enum"], states, "{name}");
        }
        assert_eq!(schemas["final_batch"]["properties"]["commands"]["items"], reference("final_status"));
    }
}
