//! Generates example bodies from a JSON Schema for the OpenAPI description. A generated body may be invalid. Therefore
//! the kind checks it before it is used.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;

use serde_json::{Map, Value, json};

use super::pattern;

/// Maximum number of schemas that are evaluated for one example. A schema that requires itself has no end.
const MAX_VALUES: usize = 1_000;
/// Maximum nesting of schemas.
const MAX_DEPTH: usize = 32;
/// Maximum number of elements in an array, and of characters in a string without a pattern.
const MAX_ELEMENTS: usize = 1_000;
/// Value of strings without other requirements.
const TEXT: &str = "string";

/// Examples for each format.
const FORMATS: [(&str, &str); 10] = [
    ("date-time", "2026-11-20T12:00:00Z"),
    ("date", "2026-11-20"),
    ("time", "12:00:00Z"),
    ("duration", "PT1H"),
    ("email", "ada@example.org"),
    ("hostname", "example.org"),
    ("ipv4", "192.0.2.1"),
    ("ipv6", "2001:db8::1"),
    ("uri", "https://example.org/"),
    ("uuid", "01936c6e-0000-7000-8000-000000000000"),
];

/// The examples in the schema, followed by a generated body with a value at `key`.
pub(super) fn candidates<'a>(schema: &'a Value, key: &'a [String]) -> impl Iterator<Item = Value> + 'a {
    let given = schema.get("examples").and_then(Value::as_array).into_iter().flatten().cloned();
    let made = move || {
        let mut maker = ExampleBuilder { root: schema, values_left: MAX_VALUES };
        let mut body = maker.value(schema, 0).filter(Value::is_object).unwrap_or_else(|| json!({}));
        set(&mut body, key, || maker.member_at(schema, key).unwrap_or_else(|| json!(TEXT)));
        body
    };
    given.chain(iter::once_with(made))
}

/// Sets the value at the pointer `key` unless one exists.
fn set(body: &mut Value, key: &[String], value: impl FnOnce() -> Value) {
    let Some((last, way)) = key.split_last() else { return };
    let mut place = body;
    for name in way {
        let Value::Object(members) = place else { return };
        place = members.entry(name.as_str()).or_insert_with(|| json!({}));
    }
    if let Value::Object(members) = place {
        members.entry(last.as_str()).or_insert_with(value);
    }
}

/// A schema merged with the schemas that it references: its `$ref`, all of `allOf`, and the first of `anyOf` and
/// `oneOf`.
#[derive(Default)]
struct FlatSchema<'a> {
    keywords: BTreeMap<&'a str, &'a Value>,
    properties: BTreeMap<&'a str, &'a Value>,
    required: BTreeSet<&'a str>,
}

impl<'a> FlatSchema<'a> {
    fn number(&self, keyword: &str) -> Option<f64> {
        self.keywords.get(keyword)?.as_f64()
    }

    fn count(&self, keyword: &str) -> usize {
        let count = self.keywords.get(keyword).and_then(|count| count.as_u64()).unwrap_or(0);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    fn text(&self, keyword: &str) -> Option<&'a str> {
        self.keywords.get(keyword)?.as_str()
    }

    /// A value that the schema declares itself: `const`, the first of `enum` or `examples`, or `default`.
    fn declared_value(&self) -> Option<&'a Value> {
        let first = |keyword: &str| self.keywords.get(keyword)?.as_array()?.first();
        let one = |keyword: &str| self.keywords.get(keyword).copied();
        one("const").or_else(|| first("enum")).or_else(|| first("examples")).or_else(|| one("default"))
    }

    /// The declared type, or the type that the keywords suggest.
    fn type_name(&self) -> &'a str {
        let has = |keywords: &[&str]| keywords.iter().any(|keyword| self.keywords.contains_key(keyword));
        match self.keywords.get("type") {
            Some(Value::String(name)) => name,
            Some(Value::Array(names)) => names.iter().find_map(Value::as_str).unwrap_or("string"),
            _ if !self.properties.is_empty() || !self.required.is_empty() => "object",
            _ if has(&["items", "prefixItems", "minItems"]) => "array",
            _ if has(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) => {
                "number"
            }
            _ => "string",
        }
    }
}

/// Generates the values of one example.
struct ExampleBuilder<'a> {
    root: &'a Value,
    values_left: usize,
}

impl<'a> ExampleBuilder<'a> {
    /// A value with the required members only. `None` if a limit is exceeded.
    fn value(&mut self, schema: &'a Value, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        let flat = self.flat(schema)?;
        if let Some(shown) = flat.declared_value() {
            return Some(shown.clone());
        }
        match flat.type_name() {
            "object" => self.object(&flat, depth),
            "array" => self.array(&flat, depth),
            "number" => Some(number(&flat, false)),
            "integer" => Some(number(&flat, true)),
            "boolean" => Some(json!(false)),
            "null" => Some(Value::Null),
            _ => string(&flat),
        }
    }

    fn object(&mut self, flat: &FlatSchema<'a>, depth: usize) -> Option<Value> {
        let mut members = Map::new();
        for name in &flat.required {
            let value = match flat.properties.get(name) {
                Some(schema) => self.value(schema, depth + 1)?,
                None => json!(TEXT),
            };
            members.insert((*name).to_owned(), value);
        }
        Some(Value::Object(members))
    }

    fn array(&mut self, flat: &FlatSchema<'a>, depth: usize) -> Option<Value> {
        let (first, rest) = match (flat.keywords.get("prefixItems"), flat.keywords.get("items")) {
            (None, Some(Value::Array(first))) => (first.as_slice(), flat.keywords.get("additionalItems")),
            (first, rest) => (first.and_then(|first| first.as_array()).map_or(&[][..], Vec::as_slice), rest),
        };
        let mut elements = Vec::new();
        for index in 0..flat.count("minItems").min(MAX_ELEMENTS) {
            elements.push(match first.get(index).or(rest.copied()) {
                Some(schema) => self.value(schema, depth + 1)?,
                None => json!(TEXT),
            });
        }
        Some(Value::Array(elements))
    }

    /// A value for the member at `key`. `None` if the schema does not describe this member.
    fn member_at(&mut self, schema: &'a Value, key: &[String]) -> Option<Value> {
        let mut schema = schema;
        for name in key {
            schema = self.flat(schema)?.properties.get(name.as_str())?;
        }
        self.value(schema, 0)
    }

    fn flat(&mut self, schema: &'a Value) -> Option<FlatSchema<'a>> {
        let mut flat = FlatSchema::default();
        self.flatten(schema, &mut flat, 0)?;
        Some(flat)
    }

    fn flatten(&mut self, schema: &'a Value, flat: &mut FlatSchema<'a>, depth: usize) -> Option<()> {
        self.values_left = self.values_left.checked_sub(1)?;
        let Value::Object(keywords) = schema else { return Some(()) };
        if depth > MAX_DEPTH {
            return None;
        }
        for (keyword, value) in keywords {
            match (keyword.as_str(), value) {
                ("properties", Value::Object(properties)) => properties.iter().for_each(|(name, schema)| {
                    flat.properties.entry(name).or_insert(schema);
                }),
                ("required", Value::Array(names)) => {
                    flat.required.extend(names.iter().filter_map(Value::as_str));
                }
                ("$ref", Value::String(target)) => {
                    self.flatten(self.root.pointer(target.strip_prefix('#')?)?, flat, depth + 1)?;
                }
                ("allOf", Value::Array(all)) => {
                    all.iter().try_for_each(|schema| self.flatten(schema, flat, depth + 1))?;
                }
                ("anyOf" | "oneOf", Value::Array(choices)) => {
                    self.flatten(choices.first()?, flat, depth + 1)?;
                }
                (keyword, value) => {
                    flat.keywords.entry(keyword).or_insert(value);
                }
            }
        }
        Some(())
    }
}

/// Zero if allowed, else a number next to a bound.
fn number(flat: &FlatSchema<'_>, is_integer: bool) -> Value {
    let step = flat.number("multipleOf").filter(|step| *step > 0.0);
    let unit = step.unwrap_or(1.0);
    let (least, above) = (flat.number("minimum"), flat.number("exclusiveMinimum"));
    let (most, below) = (flat.number("maximum"), flat.number("exclusiveMaximum"));
    let fits = |number: f64| {
        least.is_none_or(|least| number >= least)
            && above.is_none_or(|above| number > above)
            && most.is_none_or(|most| number <= most)
            && below.is_none_or(|below| number < below)
    };
    let up = |bound: f64| (bound / unit).ceil() * unit;
    let down = |bound: f64| (bound / unit).floor() * unit;
    let candidates = [
        Some(0.0),
        least.map(up),
        above.map(|above| up(above) + unit),
        above.map(up),
        most.map(down),
        below.map(|below| down(below) - unit),
        least,
        above.zip(below).map(|(above, below)| f64::midpoint(above, below)),
    ];
    let number = candidates.into_iter().flatten().find(|number| fits(*number)).unwrap_or(0.0);
    // Above this value, a 64-bit float cannot represent every integer.
    if (is_integer || number.fract() == 0.0) && number.abs() < 9e15 {
        #[expect(clippy::cast_possible_truncation, reason = "within the range of i64, by the line above")]
        return json!(number as i64);
    }
    json!(number)
}

fn string(flat: &FlatSchema<'_>) -> Option<Value> {
    let min_length = flat.count("minLength");
    if let Some(pattern) = flat.text("pattern") {
        return Some(json!(pattern::example_text(pattern, min_length)?));
    }
    let format = flat.text("format");
    if let Some((_, text)) = FORMATS.iter().find(|(name, _)| Some(*name) == format) {
        return Some(json!(text));
    }
    let max_length =
        if flat.keywords.contains_key("maxLength") { flat.count("maxLength") } else { usize::MAX };
    let length = TEXT.len().max(min_length).min(max_length).min(MAX_ELEMENTS);
    Some(json!(TEXT.chars().cycle().take(length).collect::<String>()))
}
