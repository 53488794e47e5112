//! serde's messages in plain words.

use super::keys::nearest;

/// A message of serde's as a user can act on it.
pub(super) fn plain(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    if let Some((found, wanted)) = between(message, "invalid type: ", ", expected ") {
        return format!("this is {}, but {} is wanted", found_words(found), wanted_words(wanted));
    }
    if let Some((found, wanted)) = between(message, "invalid value: ", ", expected ") {
        return format!("{} is not possible here; {} is wanted", found_words(found), wanted_words(wanted));
    }
    if let Some((found, allowed)) = between(message, "unknown variant `", "`, expected ") {
        return unknown_word(found, allowed);
    }
    if message.starts_with("missing field `") {
        return "the key is missing".to_owned();
    }
    if message.contains("did not match any variant of untagged enum") {
        return "none of the forms that are allowed here".to_owned();
    }
    message.to_owned()
}

fn between<'a>(message: &'a str, first: &str, second: &str) -> Option<(&'a str, &'a str)> {
    message.strip_prefix(first)?.split_once(second)
}

fn unknown_word(found: &str, allowed: &str) -> String {
    let allowed: Vec<&str> = allowed.split('`').skip(1).step_by(2).collect();
    let near =
        nearest(found, allowed.iter().copied()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    format!("`{found}` is not known here; allowed: {}{near}", allowed.join(", "))
}

/// What stands there, without the text itself: it may be a secret.
fn found_words(found: &str) -> String {
    let (kind, value) = found.split_once(' ').unwrap_or((found, ""));
    match kind {
        "string" => "a text".to_owned(),
        "integer" | "floating" => format!("the number {}", value.trim_start_matches("point ").trim_matches('`')),
        "boolean" => value.trim_matches('`').to_owned(),
        "sequence" => "a list".to_owned(),
        "map" => "a map".to_owned(),
        "null" | "unit" | "Option" => "empty".to_owned(),
        _ => found.to_owned(),
    }
}

fn wanted_words(wanted: &str) -> String {
    match wanted {
        "a string" | "string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        _ if wanted.starts_with("struct ") || wanted.starts_with("map") => "a map of keys and values".to_owned(),
        _ if wanted.starts_with("an array of length ") => wanted.replace("an array of length ", "a list of "),
        _ => wanted.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_jargon_and_no_values_that_may_be_secret() {
        for (given, expected) in [
            (
                "invalid type: string \"s3cret\", expected u64",
                "this is a text, but a whole number of at least 0 is wanted",
            ),
            ("invalid type: sequence, expected a string", "this is a list, but a text is wanted"),
            ("invalid type: map, expected a boolean at line 1 column 2", "this is a map, but true or false is wanted"),
            ("invalid type: null, expected struct Output", "this is empty, but a map of keys and values is wanted"),
            (
                "unknown variant `zst`, expected one of `zstd`, `gzip`, `off`",
                "`zst` is not known here; allowed: zstd, gzip, off; did you mean `zstd`?",
            ),
            ("missing field `url`", "the key is missing"),
            ("`soon` is not a duration", "`soon` is not a duration"),
        ] {
            assert_eq!(plain(given), expected);
        }
    }
}
