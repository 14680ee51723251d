//! Names of a section's keys, taken from its struct.

use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

/// Names of the fields of `T`. Empty if `T` is not a struct.
pub(super) fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut probe = FieldNameProbe(&[]);
    // The probe has no value, so this always fails.
    let _ = T::deserialize(&mut probe);
    probe.0
}

/// Records the field names that a struct requests.
struct FieldNameProbe(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut FieldNameProbe {
    type Error = NoValue;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoValue> {
        Err(NoValue)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, NoValue> {
        self.0 = fields;
        Err(NoValue)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Error of the probe: it has no value.
#[derive(Debug)]
struct NoValue;

impl fmt::Display for NoValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no value")
    }
}

impl std::error::Error for NoValue {}

impl de::Error for NoValue {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}
