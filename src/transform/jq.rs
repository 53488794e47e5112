//! jq, by jaq: an expression over one item, whose values are the items that come of it.
//!
//! Decimals that an expression only hands on keep their digits; one that it calculates with becomes a float, as in jq.
//! An expression can neither see the environment, where secrets are, nor end the process, nor write to its output.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jaq_core::compile::Compiler;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Ctx, Vars, data, unwrap_valr};
use jaq_json::Val;
use serde_json::value::RawValue;

use crate::item::{Item, raw_json};

/// How long the items of one batch may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What is said of those that take longer.
pub(super) const ENDLESS: &str = "the jq expression does not end; edit it, and the source starts again";

/// One item becomes no more than so many.
const VALUES_MAX: usize = 100_000;

/// All that one item becomes has no more bytes.
const BYTES_MAX: usize = 64 << 20;

/// jaq goes down into a value as deep as it is.
const DEPTH_MAX: usize = 128;

/// What would reach out of an expression.
const FORBIDDEN: [&str; 4] = ["env", "halt", "stderr_empty", "debug_empty"];

type Data = data::JustLut<Val>;

/// A compiled expression.
#[derive(Clone)]
pub(super) struct Program {
    filter: Arc<jaq_core::compile::Filter<jaq_core::Native<Data>>>,
    is_given_up: Arc<AtomicBool>,
}

impl Program {
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn new(code: &str) -> Result<Self, String> {
        let is_allowed = |name: &str| !FORBIDDEN.contains(&name);
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let defs = defs.filter(|def| !is_reaching_out(def.name));
        let funs = jaq_core::funs::<Data>().chain(jaq_std::funs()).chain(jaq_json::funs());
        let funs = funs.filter(|(name, ..)| is_allowed(name));
        let arena = Arena::default();
        let modules = Loader::new(defs)
            .load(&arena, File { code, path: () })
            .map_err(|errors| in_words(errors.into_iter().flat_map(|(file, error)| loading(file.code, error))))?;
        let filter = Compiler::default().with_funs(funs).compile(modules).map_err(|errors| {
            let each = errors.into_iter().flat_map(|(file, errors)| {
                errors.into_iter().map(move |(name, undefined)| {
                    let at = load::span(file.code, name).start + 1;
                    format!("{} `{}` is not known, at character {at}", undefined.as_str(), name.escape_debug())
                })
            });
            in_words(each)
        })?;
        Ok(Self { filter: Arc::new(filter), is_given_up: Arc::default() })
    }

    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// The values that the expression makes of a value.
    pub(super) fn apply(&self, data: &RawValue) -> Result<Vec<Box<RawValue>>, String> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return Err(ENDLESS.into());
        }
        if depth(data.get()) > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        let input = jaq_json::read::parse_single(data.get().as_bytes()).map_err(|error| error.to_string())?;
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new([]));
        let (mut values, mut bytes) = (Vec::new(), 0);
        for value in self.filter.id.run((context, input)).map(unwrap_valr) {
            let value = value.map_err(|error| error.to_string())?.to_string();
            bytes += value.len();
            if values.len() == VALUES_MAX || bytes > BYTES_MAX {
                return Err("one item would become more than 100,000, or 64 MiB".into());
            }
            // Its values are more than JSON has: bytes, names that are no texts, numbers that are none.
            let value = raw_json(&value).map_err(|why| format!("what was made has no form in JSON: {why}"))?;
            values.push(value);
            if self.is_given_up.load(Ordering::Relaxed) {
                return Err(ENDLESS.into());
            }
        }
        Ok(values)
    }
}

/// Definitions of jq itself over what is forbidden.
fn is_reaching_out(name: &str) -> bool {
    matches!(name, "halt" | "halt_error" | "debug" | "stderr" | "env" | "input_line_number")
}

/// The items that come of one. Where there are several, each needs an id of its own.
pub(super) fn items(from: &Item, values: Vec<Box<RawValue>>) -> Vec<Item> {
    let is_one = values.len() == 1;
    let item = |(at, data): (usize, Box<RawValue>)| Item {
        id: from.id.as_ref().map(|id| if is_one { id.clone() } else { format!("{id}_{at}") }),
        kind: from.kind.clone(),
        published_at: from.published_at,
        data,
    };
    values.into_iter().enumerate().map(item).collect()
}

/// How deep a value is nested; brackets within texts do not count.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn loading(code: &str, error: load::Error<&str>) -> Vec<String> {
    let at = |found: &str| load::span(code, found).start + 1;
    match error {
        load::Error::Io(errors) => {
            errors.into_iter().map(|(path, why)| format!("`{path}` cannot be read: {why}")).collect()
        }
        load::Error::Lex(errors) => {
            let each = errors
                .into_iter()
                .map(|(expected, found)| format!("{} is wanted at character {}", expected.as_str(), at(found)));
            each.collect()
        }
        load::Error::Parse(errors) => {
            let each = errors.into_iter().map(|(expected, found)| {
                let shown: Cow<'_, str> =
                    if found.is_empty() { "its end".into() } else { format!("character {}", at(found)).into() };
                format!("{} is wanted at {shown}", expected.as_str())
            });
            each.collect()
        }
    }
}

fn in_words(errors: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = errors.collect();
    format!("not an expression of jq: {}", all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(code: &str, data: &str) -> Result<Vec<String>, String> {
        let values = Program::new(code)?.apply(&RawValue::from_string(data.into()).unwrap())?;
        Ok(values.iter().map(|value| value.get().to_owned()).collect())
    }

    #[test]
    fn expressions() {
        for (code, data, expected) in [
            (
                ".",
                r#"{"b":1.10,"a":12345678901234567890123,"c":"é\u0001"}"#,
                r#"{"b":1.10,"a":12345678901234567890123,"c":"é\u0001"}"#,
            ),
            (".a.b // \"none\"", r#"{"a":{}}"#, r#""none""#),
            (".[] | select(. > 1)", "[1,2]", "2"),
            ("fromdate", r#""2026-11-28T00:00:00Z""#, "1795824000"),
            ("test(\"^a\")", r#""abc""#, "true"),
            ("@base64", r#""abc""#, r#""YWJj""#),
        ] {
            assert_eq!(apply(code, data), Ok(vec![expected.to_owned()]), "{code}");
        }
        assert_eq!(apply("empty", "1"), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut all = String::new();
        for (code, data) in [
            (".a |", "1"),
            (".a", "[]"),
            ("nothing(1)", "1"),
            ("$x", "1"),
            ("\"a", "1"),
            ("env", "1"),
            ("$ENV", "1"),
            ("halt", "1"),
            ("debug", "1"),
            ("input", "1"),
            ("import \"x\" as x; .", "1"),
            ("nan", "1"),
            ("error(\"no\")", "1"),
            ("range(1e9)", "1"),
        ] {
            all.extend([code, ": ", &apply(code, data).expect_err(code), "\n"]);
        }
        insta::assert_snapshot!(all, @r#"
        .a |: not an expression of jq: term is wanted at its end
        .a: cannot index [] with "a"
        nothing(1): not an expression of jq: filter `nothing` is not known, at character 1
        $x: not an expression of jq: variable `$x` is not known, at character 1
        "a: not an expression of jq: closing quote is wanted at character 3
        env: not an expression of jq: filter `env` is not known, at character 1
        $ENV: not an expression of jq: variable `$ENV` is not known, at character 1
        halt: not an expression of jq: filter `halt` is not known, at character 1
        debug: not an expression of jq: filter `debug` is not known, at character 1
        input: not an expression of jq: filter `input` is not known, at character 1
        import "x" as x; .: not an expression of jq: `x` cannot be read: module loading not supported
        nan: what was made has no form in JSON: this is not JSON: expected value at line 1 column 1
        error("no"): "no"
        range(1e9): one item would become more than 100,000, or 64 MiB
        "#);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(apply(".", &deep).unwrap_err().contains("nested deeper"));
    }
}
