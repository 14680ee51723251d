//! What the daemon answers, by the types that it serialises.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::http::api::documents::{Accepted, Empty, StatusDocument, UserPage, Waited};
use crate::http::backend::Readiness;
use crate::http::problem;
use crate::http::readiness::Health;
use crate::login::TokenPair;
use crate::users::Profile;

/// The schema of each answer, under the name that its type gives it.
pub fn schemas() -> Map<String, Value> {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    let mut schemas = settings.into_generator();
    schemas.subschema_for::<Accepted<'_>>();
    schemas.subschema_for::<Empty>();
    schemas.subschema_for::<Health>();
    schemas.subschema_for::<problem::Document<'_>>();
    schemas.subschema_for::<Profile>();
    schemas.subschema_for::<Readiness>();
    schemas.subschema_for::<StatusDocument<'_>>();
    schemas.subschema_for::<TokenPair>();
    schemas.subschema_for::<UserPage<'_>>();
    schemas.subschema_for::<Waited<'_>>();
    schemas.take_definitions(true)
}
