//! A response of `GET /v1/commands/{id}`, and when it was received.

use serde_json::Value;

use crate::checker::RecordPosition;
use crate::command::Kind;

/// The reported state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObservedState {
    Accepted,
    Sent,
    Dead,
    /// 404: its segment is no longer retained.
    Gone,
}

/// One response.
#[derive(Clone, Copy, Debug)]
pub struct StatusObservation {
    pub client: u32,
    pub serial: u32,
    pub state: ObservedState,
    /// Its location in the topic, if known.
    pub place: Option<RecordPosition>,
    /// Whether it was received after all records were delivered.
    pub is_final: bool,
}

impl StatusObservation {
    /// Reads a status document. Returns an error that describes an invalid one.
    pub fn read(client: u32, serial: u32, kind: Kind, document: &Value) -> Result<Self, String> {
        let state = match document["state"].as_str() {
            Some("accepted") => ObservedState::Accepted,
            Some("sent") => ObservedState::Sent,
            Some("dead") => ObservedState::Dead,
            _ => return Err(format!("no such state: {document}")),
        };
        let kafka = &document["kafka"];
        let place = match (kafka["partition"].as_i64(), kafka["offset"].as_i64()) {
            // Confirmed without an offset: a broker that already had the record does not return its location.
            (Some(partition), Some(offset)) if offset >= 0 => {
                Some((i32::try_from(partition).map_err(|error| error.to_string())?, offset))
            }
            _ => None,
        };
        if document["kind"] != kind.name() || (!kafka.is_null() && kafka["topic"] != kind.topic()) {
            return Err(format!("of another kind: {document}"));
        }
        Ok(Self { client, serial, state, place, is_final: false })
    }
}
