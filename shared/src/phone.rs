//! Telephone numbers as `WhatsApp` spells them: some countries have two spellings of one and the same number.

/// The one spelling that stands for a number wherever it is compared: digits, as in `wa_id`.
///
/// The provider spells some numbers in two ways and may use either for the same person: Brazilian mobile numbers with
/// and without the ninth digit, Mexican and Argentine ones with and without the `1` and `9` of mobile telephones.
/// Only for comparing: messages go to the spelling that the provider gave.
/// (<https://github.com/chatwoot/chatwoot/issues/5840>, <https://github.com/chatwoot/chatwoot/pull/14264>)
#[must_use]
pub fn canonical_phone(wa_id: &str) -> String {
    let digits = wa_id.strip_prefix('+').unwrap_or(wa_id);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return wa_id.to_owned();
    }
    match (digits.len(), digits.as_bytes()) {
        // Brazil: 55, two digits of the area, then eight digits of a mobile telephone: the ninth is missing.
        (12, [b'5', b'5', _, _, b'6'..=b'9', ..]) => format!("{}9{}", &digits[..4], &digits[4..]),
        // Mexico: 52, 1, ten digits. Argentina: 54, 9, ten digits.
        (13, [b'5', b'2', b'1', ..] | [b'5', b'4', b'9', ..]) => format!("{}{}", &digits[..2], &digits[3..]),
        _ => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_spellings_of_a_number_are_one() {
        for (long, short) in [
            ("5511987654321", "551187654321"), // Brazil
            ("5511967654321", "551167654321"), // the lowest first digit of a mobile telephone
            ("5511997654321", "551197654321"), // the highest
            ("5215512345678", "525512345678"), // Mexico
            ("5491123456789", "541123456789"), // Argentina
            ("+491713920012", "491713920012"),
        ] {
            assert_eq!(canonical_phone(long), canonical_phone(short), "{long} and {short}");
        }
    }

    #[test]
    fn other_numbers_stay_apart() {
        for (one, other) in [
            ("5511957654321", "551157654321"), // Brazil: 2 to 5 are landlines, which have no ninth digit
            ("5511887654321", "551187654321"), // the extra digit is a 9
            ("55119876543210", "5511876543210"), // too long
            ("551198765432", "55118765432"),   // too short
            ("5225512345678", "525512345678"), // Mexico: only 1
            ("5481123456789", "541123456789"), // Argentina: only 9
            ("521551234567", "52551234567"),   // Mexico: 521 and nine digits is no mobile spelling
            ("4915112345678", "495112345678"), // another country
            ("5311987654321", "531187654321"),
        ] {
            assert_ne!(canonical_phone(one), canonical_phone(other), "{one} and {other}");
        }
    }

    #[test]
    fn the_rest_is_kept_as_it_is() {
        for text in ["491713920012", "", "1", "DE.8172", "5511 98765-4321", "55é111111111", "16505551234"] {
            assert_eq!(canonical_phone(text), text);
        }
    }

    proptest! {
        #[test]
        fn the_canonical_spelling_is_its_own(number in "(55|52|54|52[19]|54[19]|49)?[0-9]{0,13}|\\PC{0,16}") {
            let canonical = canonical_phone(&number);
            prop_assert_eq!(canonical_phone(&canonical), canonical);
        }

        #[test]
        fn every_brazilian_mobile_number_has_one_spelling(area in "[0-9]{2}", first in "[6-9]", rest in "[0-9]{7}") {
            prop_assert_eq!(canonical_phone(&format!("55{area}{first}{rest}")), canonical_phone(&format!("55{area}9{first}{rest}")));
        }
    }
}
