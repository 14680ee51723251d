//! Unicode properties of characters, and the composed form of a text.
//!
//! The tables are ICU4X's, which the daemon contains anyway for hosts in URLs.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, ExtendedPictographic, GeneralCategory,
    GeneralCategoryGroup, JoiningType,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// The combining class of virama signs, which join two consonants.
const VIRAMA: CanonicalCombiningClass = CanonicalCombiningClass(9);

/// The text in NFC: `e` and a combining accent become one character.
pub(super) fn composed(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

pub(super) fn category(character: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(character)
}

/// Whether this is a space of any width.
pub(super) fn is_space(character: char) -> bool {
    category(character) == GeneralCategory::SpaceSeparator
}

/// Whether this is a mark, which is displayed on the preceding character.
pub(super) fn is_mark(character: char) -> bool {
    GeneralCategoryGroup::Mark.contains(category(character))
}

pub(super) fn is_letter(character: char) -> bool {
    GeneralCategoryGroup::Letter.contains(category(character))
}

pub(super) fn is_virama(character: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(character) == VIRAMA
}

/// Whether the character is invisible, or breaks the line.
pub(super) fn is_hidden(character: char) -> bool {
    use GeneralCategory::{LineSeparator, ParagraphSeparator};
    let is_break = matches!(category(character), LineSeparator | ParagraphSeparator);
    let is_annotation = matches!(character, '\u{fff9}'..='\u{fffb}');
    let is_ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character);
    character.is_control() || is_break || is_annotation || is_ignorable
}

/// Whether this is a variation selector, which selects a form of the preceding character.
pub(super) fn is_variation(character: char) -> bool {
    matches!(character, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// Whether this is an emoji, or a symbol that may be shown as one.
pub(super) fn is_picture(character: char) -> bool {
    CodePointSetData::new::<ExtendedPictographic>().contains(character)
}

pub(super) fn joining(character: char) -> JoiningType {
    CodePointMapData::<JoiningType>::new().get(character)
}
