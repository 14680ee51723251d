//! Fuzz target: compares the splitting of batches with a simple reference implementation.

use bytes::Bytes;

use crate::bounded_errors::MAX_ERRORS_PER_RESPONSE;
use crate::http::api::batch::{MAX_LINES, check_lines};
use crate::http::problem;
use crate::http::problem::Problem;

/// The check in this target refuses lines with this byte.
const BAD: u8 = b'!';

/// Checks that all lines are returned unchanged and in order, or that the errors name all refused lines up to a limit.
pub fn batch(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let mut checked = 0;
    let result = check_lines(&body, |line| {
        checked += 1;
        match line.contains(&BAD) {
            true => Err(Problem::new(&problem::MALFORMED_BODY, "bad")),
            false => Ok(line),
        }
    });
    if data.iter().all(u8::is_ascii_whitespace) {
        assert_eq!(result.expect_err("nothing in it").kind.status, problem::EMPTY_BATCH.status);
        return;
    }
    let text = data.strip_suffix(b"\n").unwrap_or(data);
    let plain: Vec<_> =
        text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    if plain.len() > MAX_LINES {
        assert_eq!((result.err().map(|refusal| refusal.kind.status), checked), (Some(413), 0));
        return;
    }
    let bad: Vec<_> =
        (1..).zip(&plain).filter(|(_, line)| line.contains(&BAD)).map(|(number, _)| number).collect();
    match result {
        Ok(admitted) => {
            assert_eq!(admitted, plain);
            assert_eq!(bad, [0; 0]);
        }
        Err(refusal) => {
            let named: Vec<_> = refusal.errors.iter().filter_map(|error| error.line).collect();
            assert_eq!(named, bad[..bad.len().min(MAX_ERRORS_PER_RESPONSE)]);
            assert!(!named.is_empty());
        }
    }
}
