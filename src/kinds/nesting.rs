//! How deep objects and arrays stand inside each other, found out before any parser recurses into them.

/// The deepest nesting that may enter.
pub const MAX_DEPTH: usize = 64;

/// Whether `json` opens more than [`MAX_DEPTH`] levels. Knows strings, and nothing else of the grammar.
pub(super) fn is_too_deep(json: &[u8]) -> bool {
    // Nearly every body opens fewer brackets in all than may be open at once, and counting them is quick.
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
    fn the_64th_level_passes_and_the_65th_does_not() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(nested(64).as_bytes()));
        assert!(is_too_deep(nested(65).as_bytes()));
        assert!(is_too_deep("{\"a\":".repeat(65).as_bytes()), "never closed");
    }

    #[test]
    fn brackets_side_by_side_or_inside_strings_are_not_nesting() {
        assert!(!is_too_deep("[]".repeat(1_000).as_bytes()));
        assert!(!is_too_deep(format!("[\"{}\"]", "[".repeat(1_000)).as_bytes()));
        assert!(!is_too_deep(format!("[\"\\\"{}\"]", "[".repeat(1_000)).as_bytes()));
        assert!(is_too_deep(format!("[\"\\\\\"{}", "[".repeat(65)).as_bytes()), "the string has ended");
    }
}
