//! Detects request heads that give two lengths for their body.
//!
//! hyper resolves such a conflict by the rules of RFC 9112 and passes on a valid request. A proxy in front of the
//! daemon may resolve it differently. An attacker can use the difference to smuggle requests. Therefore the daemon
//! refuses these requests.
//!
//! hyper removes the conflicting header, so this module counts the header lines in the received bytes. It does not
//! parse messages. A head ends with an empty line: two length headers without an empty line between them are in the
//! same head. Lines of a body are counted too. A body line that looks like a header is not JSON and is refused anyway.

const LENGTH_HEADERS: [&[u8]; 2] = [b"content-length:", b"transfer-encoding:"];
const MAX_NAME_LEN: usize = LENGTH_HEADERS[1].len();

/// Checks all bytes that are received on one connection.
#[derive(Default)]
pub struct LengthChecker {
    /// The first bytes of the current line.
    start: [u8; MAX_NAME_LEN],
    length: usize,
    /// Length headers since the last empty line.
    lengths: u8,
    ambiguous: bool,
}

impl LengthChecker {
    /// Whether any head so far gave two lengths. Stays `true`, because the connection is then closed.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.line(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.line(bytes);
    }

    fn line(&mut self, part: &[u8]) {
        let taken = part.len().min(MAX_NAME_LEN - self.length);
        self.start[self.length..self.length + taken].copy_from_slice(&part[..taken]);
        self.length += taken;
    }

    fn end_line(&mut self) {
        let line = &self.start[..std::mem::take(&mut self.length)];
        if line.is_empty() || line == b"\r" {
            self.lengths = 0;
        } else if LENGTH_HEADERS
            .iter()
            .any(|name| line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name))
        {
            self.lengths = self.lengths.saturating_add(1);
            self.ambiguous |= self.lengths > 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambiguous(wire: &str) -> bool {
        let mut whole = LengthChecker::default();
        whole.feed(wire.as_bytes());
        let mut bytewise = LengthChecker::default();
        wire.as_bytes().chunks(1).for_each(|byte| bytewise.feed(byte));
        assert_eq!(whole.is_ambiguous(), bytewise.is_ambiguous(), "{wire:?}");
        whole.is_ambiguous()
    }

    #[test]
    fn heads_with_two_lengths_are_detected_in_any_spelling() {
        assert!(ambiguous("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"));
        assert!(ambiguous(
            "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\nX: y\r\ncONTENT-lENGTH:3\r\n\r\n"
        ));
        assert!(ambiguous("POST / HTTP/1.1\nContent-Length: 3\nContent-Length: 3\n\n"));
    }

    #[test]
    fn any_number_of_heads_with_one_length_each_is_accepted() {
        let head = "POST / HTTP/1.1\r\nContent-Length: 4\r\nX-Content-Length: 9\r\n\r\n";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        assert!(!ambiguous(&format!("{head}{{\n}}{head}{{  }}{chunked}{head}")));
    }
}
