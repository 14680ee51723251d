//! Rules for the names and values of attributes (CloudEvents 1.0.2, sections 3 and 4).

/// Maximum length of a name. The specification recommends at most 20 characters; the daemon accepts longer names.
const MAX_NAME_BYTES: usize = 64;

/// Required attributes.
pub(super) const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// Optional attributes of the specification. They must not be empty.
pub(super) const OPTIONAL: [&str; 4] = ["datacontenttype", "dataschema", "subject", "time"];

/// Checks the name of an attribute. The error is the violated rule.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
        return Err("the name must have 1 to 64 of the characters a-z and 0-9");
    }
    if name == "data" {
        return Err("this name is reserved for the event's data");
    }
    Ok(())
}

/// Checks the value of an attribute. The error is the violated rule.
pub(super) fn check_value(name: &str, value: &str) -> Result<(), &'static str> {
    if !value.chars().all(is_allowed) {
        return Err("must not contain control characters or noncharacters");
    }
    match name {
        "specversion" if value != "1.0" => Err("must be 1.0"),
        "time" if !is_timestamp(value) => Err("must be an RFC 3339 timestamp"),
        _ if value.is_empty() && (REQUIRED.contains(&name) || OPTIONAL.contains(&name)) => {
            Err("must not be empty")
        }
        _ => Ok(()),
    }
}

/// Whether the character is allowed in the type String. The rule against surrogates needs no check in Rust.
fn is_allowed(character: char) -> bool {
    let code = character as u32;
    let is_control = matches!(code, 0..=0x1f | 0x7f..=0x9f);
    let is_noncharacter = matches!(code, 0xfdd0..=0xfdef) || code & 0xfffe == 0xfffe;
    !is_control && !is_noncharacter
}

/// Whether the text is a timestamp of RFC 3339, section 5.6.
fn is_timestamp(text: &str) -> bool {
    timestamp(text.as_bytes()).is_some()
}

fn timestamp(text: &[u8]) -> Option<()> {
    let (date, rest) = text.split_at_checked(10)?;
    let (year, month, day) = (number(&date[..4])?, number(&date[5..7])?, number(&date[8..])?);
    let is_date = date[4] == b'-' && date[7] == b'-' && (1..=days_in(year, month)?).contains(&day);
    let (clock, rest) = rest.split_at_checked(9)?;
    let (hour, minute, second) = (number(&clock[1..3])?, number(&clock[4..6])?, number(&clock[7..])?);
    // A leap second is 60.
    let is_clock = clock[0].eq_ignore_ascii_case(&b'T')
        && (clock[3], clock[6]) == (b':', b':')
        && (hour <= 23 && minute <= 59 && second <= 60);
    let zone = match rest.split_first() {
        Some((b'.', fraction)) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (digits > 0).then(|| &fraction[digits..])?
        }
        _ => rest,
    };
    (is_date && is_clock && is_zone(zone)).then_some(())
}

fn is_zone(zone: &[u8]) -> bool {
    match zone {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', hour @ .., b':', m1, m2] if hour.len() == 2 => {
            number(hour).is_some_and(|hour| hour <= 23)
                && number(&[*m1, *m2]).is_some_and(|minute| minute <= 59)
        }
        _ => false,
    }
}

fn days_in(year: u32, month: u32) -> Option<u32> {
    Some(match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    })
}

/// Parses at most four digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rfc_3339_timestamps_are_accepted() {
        for good in [
            "2018-04-05T17:31:00Z",
            "2018-04-05t17:31:00.123456789z",
            "2024-02-29T23:59:60+14:00",
            "2000-02-29T00:00:00-00:00",
        ] {
            assert_eq!(check_value("time", good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "2018-04-05",
            "2018-04-05 17:31:00Z",
            "2018-04-05T17:31:00",
            "2018-04-05T17:31:00.Z",
            "2018-04-05T24:00:00Z",
            "2018-04-05T17:60:00Z",
            "2018-13-05T17:31:00Z",
            "2018-04-31T17:31:00Z",
            "2018-04-00T17:31:00Z",
            "1900-02-29T17:31:00Z",
            "2018-04-05T17:31:00+1:00",
            "2018-04-05T17:31:00+24:00",
            "2018-04-05T17:31:00Zx",
            "2018-4-05T17:31:00ZZ",
            "２018-04-05T17:31:00Z",
        ] {
            assert!(check_value("time", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn control_characters_and_empty_standard_attributes_are_refused() {
        assert_eq!(check_value("subject", "größe 😀 \u{e000}"), Ok(()));
        for bad in ["\u{0}", "a\nb", "\u{7f}", "\u{9f}", "\u{fdd0}", "\u{ffff}", "\u{10fffe}"] {
            assert!(check_value("subject", bad).is_err(), "{bad:?}");
        }
        for name in ["id", "source", "type", "subject", "dataschema", "datacontenttype"] {
            assert!(check_value(name, "").is_err(), "{name}");
        }
        assert_eq!(check_value("myextension", ""), Ok(()));
        assert!(check_value("specversion", "0.3").is_err());
    }

    #[test]
    fn names_have_only_lower_case_letters_and_digits() {
        assert_eq!((check_name("a1"), check_name(&"x".repeat(64))), (Ok(()), Ok(())));
        for bad in ["", "Id", "my-extension", "my_extension", "ü", "data", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
