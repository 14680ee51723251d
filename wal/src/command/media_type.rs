//! Detects JSON media types.

/// Whether a media type, with or without parameters, is JSON: its subtype is `json`, or ends in `+json`.
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let Some((_, subtype)) = essence.split_once('/') else { return false };
    let suffix = subtype.rsplit_once('+').map_or(subtype, |(_, suffix)| suffix);
    suffix.eq_ignore_ascii_case("json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_detected_by_subtype_or_suffix() {
        for json in ["application/json", "text/JSON; charset=utf-8", "application/vnd.a+json;x=y", "a/b+json"]
        {
            assert!(is_json(json), "{json}");
        }
        for other in
            ["", "json", "application/jsonx", "application/json+avro", "application/x-ndjson", "a/b;x=/json"]
        {
            assert!(!is_json(other), "{other}");
        }
    }
}
