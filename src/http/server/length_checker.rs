//! Notices heads that say twice how long their body is.
//!
//! hyper settles such a conflict by the rules of RFC 9112 and hands over a clean request; a proxy in front of us may
//! have settled it otherwise, which is how requests are smuggled. So they are refused, and because hyper has
//! removed the evidence, the lines are counted on the wire. No message is parsed for it: a head ends with an empty
//! line, so two such lines with no empty line between them stand in one head. Lines of a body are counted too; one
//! that reads like a header is not JSON and is refused anyway.

const LENGTH_HEADERS: [&[u8]; 2] = [b"content-length:", b"transfer-encoding:"];
const MAX_NAME_LEN: usize = LENGTH_HEADERS[1].len();

/// Fed with everything that comes in on one connection.
#[derive(Default)]
pub struct LengthChecker {
    /// The first bytes of the line being read.
    start: [u8; MAX_NAME_LEN],
    length: usize,
    /// Lines about length since the last empty one.
    lengths: u8,
    ambiguous: bool,
}

impl LengthChecker {
    /// Whether a head so far was ambiguous. Stays true: such a connection is over.
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
    fn a_head_with_two_lengths_is_noticed_however_it_is_written() {
        assert!(ambiguous("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"));
        assert!(ambiguous(
            "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\nX: y\r\ncONTENT-lENGTH:3\r\n\r\n"
        ));
        assert!(ambiguous("POST / HTTP/1.1\nContent-Length: 3\nContent-Length: 3\n\n"));
    }

    #[test]
    fn one_length_a_head_is_fine_however_many_heads_there_are() {
        let head = "POST / HTTP/1.1\r\nContent-Length: 4\r\nX-Content-Length: 9\r\n\r\n";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        assert!(!ambiguous(&format!("{head}{{\n}}{head}{{  }}{chunked}{head}")));
    }
}
