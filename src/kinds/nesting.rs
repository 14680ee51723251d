//! Checks the nesting of JSON before any parser recurses into it.

/// Maximum nesting of objects and arrays.
pub const MAX_DEPTH: usize = 64;

/// Whether `json` is nested more than [`MAX_DEPTH`] levels. The check recognises strings but no other grammar.
pub(super) fn is_too_deep(json: &[u8]) -> bool {
    // Fast path: most bodies have at most `MAX_DEPTH` opening brackets in total, and counting them is fast.
    let opening = |byte: &&u8| matches!(**byte, b'{' | b'[');
    json.iter().filter(opening).count() > MAX_DEPTH && deepest(json) > MAX_DEPTH
}

fn deepest(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_64_levels_are_accepted() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(nested(64).as_bytes()));
        assert!(is_too_deep(nested(65).as_bytes()));
        assert!(is_too_deep("{\"a\":".repeat(65).as_bytes()), "never closed");
    }

    #[test]
    fn adjacent_brackets_and_brackets_in_strings_are_not_nesting() {
        assert!(!is_too_deep("[]".repeat(1_000).as_bytes()));
        assert!(!is_too_deep(format!("[\"{}\"]", "[".repeat(1_000)).as_bytes()));
        assert!(!is_too_deep(format!("[\"\\\"{}\"]", "[".repeat(1_000)).as_bytes()));
        assert!(is_too_deep(format!("[\"\\\\\"{}", "[".repeat(65)).as_bytes()), "the string has ended");
    }
}
