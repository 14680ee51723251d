//! Normalises phone numbers to E.164 (`+49301234567`).
//!
//! The library contains the numbering plans of all countries. The plans change every few weeks, so only a number's
//! length is checked against its country. A recently opened number range must be accepted.

use std::str::FromStr;
use std::sync::LazyLock;

use icu_properties::props::GeneralCategory;
use rlibphonenumber::{NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::FieldError;
use super::unicode::category;

/// The rule for phone numbers, as shown to users.
pub const RULE: &str = "a phone number such as +49 30 123456, with as many digits as its country uses; spaces, `-`, `.`, \
                        `/` and brackets may stand between them, letters and extensions may not";
/// The rule when no country is configured.
const INTERNATIONAL_RULE: &str = "a phone number with `+` and its country code, such as +49 30 123456; numbers without a \
                                  country code are not accepted here";
/// Maximum number of characters, including those between the digits.
const LONGEST: usize = 64;
/// E.164: `+` and at most 15 digits with the country code. Some plans have longer numbers within their country.
const LONGEST_E164: usize = 16;

/// The country whose numbers need no country code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhoneRegion(Region);

/// No country has this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a country as in ISO 3166-1, such as \"DE\", \"GB\" or \"US\"")]
pub struct UnknownRegion;

impl FromStr for PhoneRegion {
    type Err = UnknownRegion;

    fn from_str(text: &str) -> Result<Self, UnknownRegion> {
        let region = Region::from_code(text).map_err(|_| UnknownRegion)?;
        // The library accepts all pairs of letters as regions, including numbers without a country.
        let is_country =
            region != Region::World && PHONE_NUMBER_UTIL.get_country_code_for_region(region).is_some();
        is_country.then_some(Self(region)).ok_or(UnknownRegion)
    }
}

impl<'de> Deserialize<'de> for PhoneRegion {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for PhoneRegion {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.as_region_str())
    }
}

/// Loads the library's tables, which takes some milliseconds, before the first request needs them.
pub(super) fn load() {
    LazyLock::force(&PHONE_NUMBER_UTIL);
}

/// Normalises a number to E.164. Without a region, only numbers with a country code are accepted: the same digits are
/// different numbers in different countries.
pub fn phone(text: &str, region: Option<PhoneRegion>) -> Result<String, FieldError> {
    let refused = |rule: &str| FieldError::new("phone", format!("must be {rule}"));
    let written = written(text).ok_or_else(|| refused(RULE))?;
    let is_international = written.contains('+');
    if !is_international && region.is_none() {
        return Err(refused(INTERNATIONAL_RULE));
    }
    let canonical = e164(&written, region).ok_or_else(|| refused(RULE))?;
    // The canonical form must parse to itself, so that a number never has two canonical forms.
    match e164(&canonical, None) {
        Some(again) if again == canonical => Ok(canonical),
        _ => Err(refused(RULE)),
    }
}

/// The characters that form a number, including digits of other scripts. Marks copied from contact lists are removed.
/// `None`: the text contains something else; the library would search it for a number, read letters as digits, and keep
/// an extension that E.164 does not have.
fn written(text: &str) -> Option<String> {
    let mut written = String::with_capacity(text.len().min(LONGEST));
    for (count, character) in text.trim().chars().enumerate() {
        if count >= LONGEST {
            return None;
        }
        match category(character) {
            GeneralCategory::DecimalNumber => written.push(character),
            GeneralCategory::SpaceSeparator => written.push(' '),
            GeneralCategory::DashPunctuation => written.push('-'),
            GeneralCategory::Format => {}
            _ => written.push(match character {
                '+' | '＋' => '+',
                '.' | '．' | '/' | '／' | '(' | ')' | '[' | ']' => character,
                '（' => '(',
                '）' => ')',
                _ => return None,
            }),
        }
    }
    Some(written)
}

fn e164(text: &str, region: Option<PhoneRegion>) -> Option<String> {
    let number = PHONE_NUMBER_UTIL.parse(text, region.map(|region| region.0)).ok()?;
    // A number without an area code is ambiguous: it differs from town to town.
    if number.is_possible_with_reason() != Ok(NumberLengthType::IsPossible) {
        return None;
    }
    let canonical = number.format_as(PhoneNumberFormat::E164).into_owned();
    (canonical.len() <= LONGEST_E164).then_some(canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(code: &str) -> Option<PhoneRegion> {
        Some(code.parse().unwrap())
    }

    #[test]
    fn spellings_of_one_number_have_one_form() {
        let spellings = [
            "+49 30 1234567",
            "0049 30 1234567",
            "030 1234567",
            "+49 (0)30 / 123-45-67",
            "(+49) 30.123.4567",
            "49301234567",
            "\u{202a}+49\u{a0}30\u{2011}1234567\u{202c}",
            "＋４９３０１２３４５６７",
            "٠٣٠ ١٢٣٤٥٦٧",
        ];
        for spelling in spellings {
            assert_eq!(phone(spelling, region("DE")).as_deref(), Ok("+49301234567"), "{spelling}");
        }
        for spelling in [" +1 (555) 010-9999 ", "+1.555.010/9999", "[+1] 555 010 9999"] {
            assert_eq!(phone(spelling, None).as_deref(), Ok("+15550109999"), "{spelling}");
            assert_eq!(phone(spelling, region("DE")).as_deref(), Ok("+15550109999"), "{spelling}");
        }
    }

    #[test]
    fn the_region_does_not_change_international_numbers() {
        // After its country code, each begins like a national prefix; zeros of Italian numbers belong to the number.
        for number in ["+33142764978", "+78005553535", "+375800111111", "+390612345678", "+393912312312"] {
            for code in ["US", "RU", "BY", "IT", "FR", "DE", "GB", "KZ"] {
                assert_eq!(phone(number, region(code)).as_deref(), Ok(number), "{code}");
            }
            assert_eq!(phone(number, None).as_deref(), Ok(number));
        }
        assert_eq!(phone("88005553535", region("RU")).as_deref(), Ok("+78005553535"));
        assert_eq!(phone("06 12345678", region("IT")).as_deref(), Ok("+390612345678"));
    }

    #[test]
    fn an_incomplete_number_is_rejected_without_repeating_it() {
        let long = "+49 30 1234567".to_owned() + &" ".repeat(60) + "8";
        let bad = [
            "",
            "+",
            "110",
            "1234",
            "555-CALL-NOW",
            "+49 30 1234567 ext. 8",
            "+49 30 1234567#8",
            "tel:+49-30-1234567",
            "+1 555-0199",
            "++15550",
            "1555+0109999",
            "+999 123456",
            "+49 30 123456789012345",
            "call +49 30 1234567",
            &long,
        ];
        for bad in bad {
            for region in [None, region("US")] {
                let refused = phone(bad, region).unwrap_err();
                assert_eq!(refused.field, "phone");
                assert!(refused.detail.contains("+49 30 123456"), "{bad}: {refused:?}");
            }
        }
        assert_eq!(
            phone("555-0199", region("US")),
            Err(FieldError::new("phone", format!("must be {RULE}"))),
            "the area code is missing"
        );
    }

    #[test]
    fn without_a_region_a_number_needs_its_country_code() {
        for national in ["030 1234567", "0049 30 1234567", "15550109999"] {
            assert_eq!(
                phone(national, None),
                Err(FieldError::new("phone", format!("must be {INTERNATIONAL_RULE}"))),
                "{national}"
            );
        }
    }

    #[test]
    fn regions_are_countries() {
        assert_eq!("de".parse::<PhoneRegion>(), "DE".parse());
        assert_eq!(serde_json::to_value(region("gb")).unwrap(), "GB");
        for unknown in ["", "XX", "UK", "001", "DEU", "Germany", "d", "ДЕ"] {
            assert_eq!(unknown.parse::<PhoneRegion>(), Err(UnknownRegion), "{unknown}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_canonical_number_is_its_own_canonical_form(text in "[+]?[0-9 ()./-]{4,20}", code in "DE|US|IT|RU|BY|FR|JP|AR|MX|BR") {
            if let Ok(canonical) = phone(&text, region(&code)) {
                proptest::prop_assert_eq!(phone(&canonical, None), Ok(canonical.clone()));
                proptest::prop_assert_eq!(phone(&canonical, region(&code)), Ok(canonical));
            }
        }
    }
}
