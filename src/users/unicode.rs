//! What Unicode says of characters, and the composed form of a text.
//!
//! The tables are ICU4X's, which the daemon has anyway: hosts in URLs are read with them.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, ExtendedPictographic, GeneralCategory,
    GeneralCategoryGroup, JoiningType,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// What virama signs have in common: they join two consonants.
const VIRAMA: CanonicalCombiningClass = CanonicalCombiningClass(9);

/// In NFC: `e` and an accent become one character.
pub(super) fn composed(text: &str) -> Cow<'_, str> {
    ComposingNormalizerBorrowed::new_nfc().normalize(text)
}

pub(super) fn category(character: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(character)
}

/// A space of any width.
pub(super) fn is_space(character: char) -> bool {
    category(character) == GeneralCategory::SpaceSeparator
}

/// A mark is written on the character before it.
pub(super) fn is_mark(character: char) -> bool {
    GeneralCategoryGroup::Mark.contains(category(character))
}

pub(super) fn is_letter(character: char) -> bool {
    GeneralCategoryGroup::Letter.contains(category(character))
}

pub(super) fn is_virama(character: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(character) == VIRAMA
}

/// Takes part in the text without being seen, or breaks its line.
pub(super) fn is_hidden(character: char) -> bool {
    use GeneralCategory::{LineSeparator, ParagraphSeparator};
    let is_break = matches!(category(character), LineSeparator | ParagraphSeparator);
    let is_annotation = matches!(character, '\u{fff9}'..='\u{fffb}');
    let is_ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character);
    character.is_control() || is_break || is_annotation || is_ignorable
}

/// Chooses a form of the character before it.
pub(super) fn is_variation(character: char) -> bool {
    matches!(character, '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

/// An emoji, or a symbol that may be shown as one.
pub(super) fn is_picture(character: char) -> bool {
    CodePointSetData::new::<ExtendedPictographic>().contains(character)
}

pub(super) fn joining(character: char) -> JoiningType {
    CodePointMapData::<JoiningType>::new().get(character)
}
