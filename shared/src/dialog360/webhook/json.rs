//! Reads JSON that others wrote: cleans it first, then takes out what is there. A value that is missing, `null` or of
//! the wrong type is absent; nothing here fails.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::content::is_blank;

/// How deep foreign JSON may nest inside the parts of a message: the table takes 32 levels in all.
const MAX_DEPTH: usize = 16;

/// The greatest integer that every reader of JSON keeps exact.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// The JSON in `bytes`, cleaned of what our stores do not take; `None` if it is none, or nests deeper than 128 levels.
pub(super) fn read(bytes: &[u8]) -> Option<Value> {
    serde_json::from_str(&clean(bytes)).ok()
}

/// Without byte order mark and NUL characters, and with `U+FFFD` for what is no Unicode: invalid UTF-8, and halves of
/// surrogate pairs in escapes. Borrowed where there is nothing to clean.
fn clean(bytes: &[u8]) -> Cow<'_, str> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut text = String::from_utf8_lossy(bytes);
    if text.contains('\0') {
        text = Cow::Owned(text.replace('\0', ""));
    }
    match clean_escapes(&text) {
        Some(cleaned) => Cow::Owned(cleaned),
        None => text,
    }
}

/// `None` where there is nothing to clean.
fn clean_escapes(text: &str) -> Option<String> {
    let mut cleaned = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(offset) = text[at..].find('\\') {
        at += offset;
        let Some(unit) = escaped_unit(text, at) else {
            if text[at..].starts_with("\\u") {
                // No JSON: left alone, lest the removal of another escape completes this one.
                return None;
            }
            at = text.ceil_char_boundary(at + 2);
            continue;
        };
        let replacement = match unit {
            0 => "",
            0xD800..=0xDBFF if matches!(escaped_unit(text, at + 6), Some(0xDC00..=0xDFFF)) => {
                at += 12;
                continue;
            }
            0xD800..=0xDFFF => "\u{FFFD}",
            _ => {
                at += 6;
                continue;
            }
        };
        cleaned.push_str(&text[copied..at]);
        cleaned.push_str(replacement);
        at += 6;
        copied = at;
    }
    (copied > 0).then(|| {
        cleaned.push_str(&text[copied..]);
        cleaned
    })
}

/// The UTF-16 code unit that is escaped at `at` as `\uXXXX`.
fn escaped_unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u16::from_str_radix(digits, 16).ok()
}

/// A text that shows something.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !is_blank(text))
}

/// A text that shows something, without the blanks around it.
pub(super) fn trimmed<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    text(value, key).map(str::trim)
}

/// An object.
pub(super) fn object<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|value| value.is_object())
}

/// The items of an array; none where it is missing.
pub(super) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether something is there and true.
pub(super) fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}

/// An id: a text, or an integer as its exact digits. Never by way of a float.
pub(super) fn id<'a>(value: &'a Value, key: &str) -> Option<Cow<'a, str>> {
    id_of(value.get(key)?)
}

/// A value as an id, like [`id`].
pub(super) fn id_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
        Value::Number(number) if !number.is_f64() => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// A number, or a text that holds one.
pub(super) fn number(value: &Value, key: &str) -> Option<Value> {
    match value.get(key)? {
        number @ Value::Number(_) => Some(number.clone()),
        Value::String(text) => {
            let text = text.trim();
            text.parse::<i64>().map(Value::from).ok().or_else(|| {
                let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64)?;
                Some(Value::Number(number))
            })
        }
        _ => None,
    }
}

/// An integer, from a number or a text of digits.
pub(super) fn integer(value: &Value, key: &str) -> Option<i64> {
    match value.get(key)? {
        Value::Number(number) => number.as_i64().or_else(|| {
            #[expect(clippy::cast_possible_truncation, reason = "saturates, and nothing below a unit counts")]
            number.as_f64().map(|number| number as i64)
        }),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Puts a value into the parts of a message, where there is one.
pub(super) fn put(parts: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        parts.insert(key.to_owned(), value.into());
    }
}

/// Foreign JSON as it came; as text, where it nests too deep for the table.
pub(super) fn keep(value: &Value) -> Value {
    if deeper_than(value, MAX_DEPTH) { Value::String(value.to_string()) } else { value.clone() }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|field| deeper_than(field, levels - 1)),
        _ => false,
    }
}

/// Foreign JSON in the spelling of our API: keys in camel case, and integers that a browser would round as text.
/// As text, what nests too deep for the table.
pub(super) fn camel_cased(value: &Value) -> Value {
    camel_cased_within(value, MAX_DEPTH)
}

fn camel_cased_within(value: &Value, levels: usize) -> Value {
    match value {
        Value::Array(_) | Value::Object(_) if levels == 0 => Value::String(value.to_string()),
        Value::Array(items) => items.iter().map(|item| camel_cased_within(item, levels - 1)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, field)| (camel_case(key), camel_cased_within(field, levels - 1))).collect()
        }
        Value::Number(number) if number.as_u64().is_some_and(|number| number > MAX_SAFE_INTEGER) => {
            Value::String(number.to_string())
        }
        _ => value.clone(),
    }
}

fn camel_case(key: &str) -> String {
    let mut cased = String::with_capacity(key.len());
    let mut raise = false;
    for character in key.chars() {
        if character == '_' && !cased.is_empty() {
            raise = true;
        } else {
            cased.push(if raise { character.to_ascii_uppercase() } else { character });
            raise = false;
        }
    }
    cased
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read_text(text: &str) -> Value {
        read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_clean_body_is_not_copied() {
        for text in [
            r#"{"text":"\u00e4\u00f6\u00e5 \ud83d\ude00 a\/b \\u0000 \\ud83d"}"#,
            "{}",
            "\u{FEFF}{}",
            "",
            "\\",
            "\\u00",
        ] {
            assert!(matches!(clean(text.as_bytes()), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn halves_of_surrogate_pairs_are_replaced() {
        for (body, expected) in [
            (r#""\ud83d""#, "\u{FFFD}"),
            (r#""\uDE00 x""#, "\u{FFFD} x"),
            (r#""\ude00\ud83d""#, "\u{FFFD}\u{FFFD}"),
            (r#""\ud83d\ud83d\ude00""#, "\u{FFFD}😀"),
            (r#""\ud83d\n\ude00""#, "\u{FFFD}\n\u{FFFD}"),
            (r#""\\ud83d\\\ud83d""#, "\\ud83d\\\u{FFFD}"),
            (r#""\ud83dé""#, "\u{FFFD}é"),
        ] {
            assert_eq!(read_text(body), expected, "{body}");
        }
    }

    #[test]
    fn nul_characters_are_stripped() {
        for (body, expected) in [
            (r#""a\u0000b""#, "ab"),
            ("\"a\0b\"", "ab"),
            ("\0\"ab\"\0", "ab"),
            ("\"a\\\0u0000b\"", "ab"), // one that appears when the other goes
            (r#""\ud83d\u0000\ude00""#, "\u{FFFD}\u{FFFD}"),
            (r#""\\u0000""#, "\\u0000"),
        ] {
            assert_eq!(read_text(body), expected, "{body}");
        }
        assert_eq!(read_text(r#"{"ty\u0000pe":1}"#), json!({"type": 1}));
    }

    #[test]
    fn invalid_utf8_and_byte_order_marks_are_cleaned() {
        assert_eq!(read(b"\xEF\xBB\xBF\"a\xFFb\"").unwrap(), "a\u{FFFD}b");
        assert_eq!(read(b"\"\xED\xA0\xBD\"").unwrap(), "\u{FFFD}\u{FFFD}\u{FFFD}");
        assert_eq!(read(b"\"a\\\xFF\""), None);
    }

    #[test]
    fn what_is_no_json_is_absent() {
        for body in ["", "{", "hello", r#""\u00g0""#, r#""\u12""#, r#""\ud83d"#, "{} {}", "[1e999]", "\"a\nb\""] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_without_overflow() {
        assert_eq!(read("[".repeat(3_000_000).as_bytes()), None);
        assert_eq!(read(format!("{}{}", "[".repeat(200), "]".repeat(200)).as_bytes()), None);
    }

    #[test]
    fn ids_are_exact() {
        let value =
            read_text(r#"{"a":18446744073709551615,"b":9007199254740993,"c":"x","d":1.5,"e":null,"f":"","g":1e30}"#);
        assert_eq!(id(&value, "a").unwrap(), "18446744073709551615");
        assert_eq!(id(&value, "b").unwrap(), "9007199254740993");
        assert_eq!(id(&value, "c").unwrap(), "x");
        for key in ["d", "e", "f", "g", "h"] {
            assert_eq!(id(&value, key), None, "{key}");
        }
    }

    #[test]
    fn numbers_are_read_from_text_too() {
        let value = json!({"a": "19.9", "b": " 2 ", "c": 3, "d": "NaN", "e": "x", "f": 1_767_877_200.5});
        assert_eq!(number(&value, "a"), Some(json!(19.9)));
        assert_eq!(number(&value, "b"), Some(json!(2)));
        assert_eq!(number(&value, "c"), Some(json!(3)));
        assert_eq!(number(&value, "d"), None);
        assert_eq!(number(&value, "e"), None);
        assert_eq!(integer(&value, "b"), Some(2));
        assert_eq!(integer(&value, "f"), Some(1_767_877_200));
    }

    #[test]
    fn foreign_keys_become_camel_case() {
        let value = json!({"source_url": [{"a_b_c": 9_007_199_254_740_993_u64, "_x": 1, "alreadyCamel": null}]});
        let expected = json!({"sourceUrl": [{"aBC": "9007199254740993", "_x": 1, "alreadyCamel": null}]});
        assert_eq!(camel_cased(&value), expected);
    }

    #[test]
    fn what_nests_too_deep_is_kept_as_text() {
        let deep = (0..MAX_DEPTH).fold(json!(1), |value, _| json!([value]));
        assert_eq!(keep(&deep), deep);
        assert_eq!(camel_cased(&deep), deep);
        let deeper = json!([deep]);
        assert_eq!(keep(&deeper), deeper.to_string());
        assert!(!deeper_than(&camel_cased(&deeper), MAX_DEPTH));
    }

    proptest! {
        #[test]
        fn what_is_read_is_clean(pieces in prop::collection::vec(prop::sample::select(vec![
            "\\", "u", "\\u", "0000", "00", "\\u0000", "\\ud83d", "\\ude00", "d83d", "\0", "é", "\\\\", "x",
        ]), 0..12)) {
            let text = pieces.concat();
            if let Some(read) = read(format!("\"{text}\"").as_bytes()) {
                prop_assert!(!read.as_str().unwrap().contains('\0'), "{text:?} is {read:?}");
            }
        }

        #[test]
        fn any_string_survives_its_own_escapes(text in "\\PC*") {
            let escaped: Vec<String> = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            prop_assert_eq!(read_text(&format!("\"{}\"", escaped.concat())), text);
        }
    }
}
