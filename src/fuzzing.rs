//! Fuzz targets: one for each parser of what others have written. Built for tests, and by `scripts/fuzz`.
//!
//! A target takes any bytes, and panics where something does not hold. What has to hold is said beside each parser, in its
//! `checks`, where the property tests ask the same of inputs that are made by a plan. Here is only what the bytes mean. The
//! inputs in `fuzz/corpus/` are run by the tests, so that they stay what they are for.

use crate::{adapters, fetch, pipeline, record, retry_after};

/// A target, by the name of its file in `fuzz/fuzz_targets/` and of its folder in `fuzz/corpus/`.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, in alphabetical order.
pub const TARGETS: &[Target] = &[
    ("bodies", bodies),
    ("charset", charset),
    ("commits", commits),
    ("dates", dates),
    ("early", early),
    ("exec_lines", exec_lines),
    ("feed", feed),
    ("html_gate", html_gate),
    ("jetstream", jetstream),
    ("json_paths", json_paths),
    ("json_split", json_split),
    ("numbers", numbers),
    ("pages", pages),
    ("recordings", recordings),
    ("records", records),
    ("robots", robots),
    ("selectors", selectors),
    ("singer", singer),
    ("sse", sse),
    ("trees", trees),
];

/// A letter that chooses one of several ways, and what it is read as.
fn chosen(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(letter, rest)| (letter.wrapping_sub(b'a'), rest))
}

/// The first line, and the rest.
fn headed(data: &[u8]) -> (String, &[u8]) {
    let end = memchr::memchr(b'\n', data).unwrap_or(data.len());
    (text(&data[..end]), data.get(end + 1..).unwrap_or_default())
}

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// A letter for the coding, and a body.
pub fn bodies(data: &[u8]) {
    let (choice, rest) = chosen(data);
    fetch::checks::any_body(choice, rest);
}

/// A letter for where it is cut, and what a program writes.
pub fn exec_lines(data: &[u8]) {
    let (at, rest) = chosen(data);
    adapters::exec::checks::lines(rest, usize::from(at));
}

/// A letter for whether it is compressed, and a frame.
pub fn jetstream(data: &[u8]) {
    let (choice, rest) = chosen(data);
    adapters::websocket::checks::frame(rest, choice == 1);
}

/// The messages of a tap, a line each.
pub fn singer(data: &[u8]) {
    adapters::exec::checks::singer(&text(data));
}

/// A letter for the header, and a page.
pub fn charset(data: &[u8]) {
    let (choice, rest) = chosen(data);
    fetch::checks::any_charset(choice, rest);
}

/// A commit log, as it is and with a frame made of each line.
pub fn commits(data: &[u8]) {
    pipeline::state::checks::any(data);
}

/// A letter for the format, and a text; after a `+` it is a `Retry-After`.
pub fn dates(data: &[u8]) {
    match data {
        [b'+', value @ ..] => retry_after::checks::any(&text(value)),
        data => {
            let (choice, rest) = chosen(data);
            adapters::scrape::checks::any_moment(choice, &text(rest));
        }
    }
}

/// A letter for the selector, and a page that is read until all of it is found.
pub fn early(data: &[u8]) {
    let (choice, rest) = chosen(data);
    adapters::scrape::checks::any_part(choice, &text(rest));
}

/// A feed.
pub fn feed(data: &[u8]) {
    adapters::feed::checks::any(&text(data));
}

/// A page before it is parsed.
pub fn html_gate(data: &[u8]) {
    adapters::scrape::checks::any_tags(&text(data));
}

/// A path in the first line, and JSON.
pub fn json_paths(data: &[u8]) {
    let (path, json) = headed(data);
    adapters::scrape::checks::any_path(&path, &text(json));
}

/// A letter for the settings, and an answer.
pub fn json_split(data: &[u8]) {
    let (choice, rest) = chosen(data);
    adapters::json::checks::any(choice, &text(rest));
}

/// A letter for the style, and a text.
pub fn numbers(data: &[u8]) {
    let (choice, rest) = chosen(data);
    adapters::scrape::checks::any_number(choice, &text(rest));
}

/// A page, as text and as records.
pub fn pages(data: &[u8]) {
    adapters::scrape::checks::any_page(&text(data));
}

/// A line of a segment.
pub fn records(data: &[u8]) {
    record::checks::any(data);
}

/// A WARC file.
pub fn recordings(data: &[u8]) {
    fetch::checks::any_recording(data);
}

/// A path in the first line, and a robots.txt.
pub fn robots(data: &[u8]) {
    let (path, file) = headed(data);
    fetch::checks::any_robots(&path, file);
}

/// A selector in the first line, and a page.
pub fn selectors(data: &[u8]) {
    let (selector, html) = headed(data);
    adapters::scrape::checks::any_selector(&selector, &text(html));
}

/// A letter that says how the bytes are cut, and an event stream.
pub fn sse(data: &[u8]) {
    let (choice, rest) = chosen(data);
    adapters::sse::checks::any_stream(choice, rest);
}

/// A page as a tree.
pub fn trees(data: &[u8]) {
    adapters::scrape::checks::any_tree(&text(data));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// What is kept of a target's inputs: enough to find again what they found, and no more than a checkout should hold.
    const FILES_MAX: usize = 40;
    const BYTES_MAX: u64 = 200_000;

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
    }

    fn names(folder: &str) -> BTreeSet<String> {
        let found = fs::read_dir(root().join(folder)).unwrap();
        found
            .map(|entry| Path::new(&entry.unwrap().file_name()).file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn each_target_has_its_file_and_its_inputs() {
        let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert!(TARGETS.is_sorted_by_key(|(name, _)| *name) && targets.len() == TARGETS.len());
        assert_eq!(names("fuzz_targets"), targets, "fuzz/fuzz_targets");
        assert_eq!(names("corpus"), targets, "fuzz/corpus");
        let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        for name in &targets {
            let file = format!("fuzz_targets/{name}.rs");
            assert!(
                manifest.contains(&format!("name = \"{name}\"\npath = \"{file}\"\n")),
                "fuzz/Cargo.toml has no {name}"
            );
            let code = fs::read_to_string(root().join(&file)).unwrap();
            assert!(code.contains(&format!("tapline::fuzzing::{name}(data)")), "{file} runs another target");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), targets.len(), "fuzz/Cargo.toml has others");
    }

    #[test]
    fn every_input_that_is_kept_is_in_order() {
        let mut bytes = 0;
        for (name, target) in TARGETS {
            let folder = root().join("corpus").join(name);
            let mut files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            assert!((1..=FILES_MAX).contains(&files.len()), "{name}: {} inputs", files.len());
            for file in files {
                // Of one that fails this is the last line.
                println!("{}", file.display());
                let data = fs::read(&file).unwrap();
                bytes += data.len() as u64;
                target(&data);
            }
        }
        assert!(bytes <= BYTES_MAX, "{bytes} bytes");
    }
}
