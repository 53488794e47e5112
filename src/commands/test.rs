//! `tapline test`: what sources make of pages that were saved, beside what their files expect. Nobody is asked.

mod compare;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use self::compare::{Difference, differences};
use crate::cli::Global;
use crate::config::SourceConfig;
use crate::context::{Context, SystemClock};
use crate::report::trial::Report;
use crate::source::{PageTest, SavedPage};

use super::check::{files, many};
use super::terminal::harmless;
use super::try_source::write_finding;
use super::{saved, sources};

/// How many differences of one test are shown.
const SHOWN_MAX: usize = 20;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The tests are in the sources' files: `tests: [{ page: fixtures/nifty.html, expect: { last: 24834.85 } }]`.

Examples:
  tapline test                       every source of the folder
  tapline test sources/nifty.yaml    one file
  tapline test --json                one JSON object for each test"
)]
pub struct Test {
    /// Files of sources, names of them, or folders; by default the folder of sources
    #[arg(value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Print one JSON object for each test
    #[arg(long)]
    json: bool,
}

/// What came of one test.
struct Tested {
    /// Why the page could not be read.
    error: Option<String>,
    differences: Vec<Difference>,
    report: Option<Report>,
}

impl Tested {
    fn is_good(&self) -> bool {
        self.error.is_none() && self.differences.is_empty()
    }
}

impl Test {
    /// Carries out the command. The exit code is 1 when a test fails or a file is broken.
    ///
    /// # Errors
    /// When a folder cannot be read, or standard output not be written.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let named = self.paths.iter().map(|path| sources::file_of(path, global));
        let paths = if self.paths.is_empty() { vec![global.sources.clone()] } else { named.collect() };
        let mut out = String::new();
        let (mut tests, mut failed, mut broken) = (0, 0, 0);
        let context = Context::new(Arc::new(SystemClock));
        for path in &paths {
            for file in files(path)? {
                let config = match sources::load_source(&file) {
                    Ok(config) => config,
                    Err(wrong) => {
                        sources::say(&wrong);
                        broken += 1;
                        continue;
                    }
                };
                for test in config.settings.tests() {
                    let tested = tried(&config, &test, &context);
                    tests += 1;
                    failed += usize::from(!tested.is_good());
                    let written = if self.json {
                        write_json(&mut out, &file, &test, &tested)
                    } else {
                        write_text(&mut out, &file, &test, &tested)
                    };
                    written.expect("invariant: a string takes all that is written");
                }
            }
        }
        if !self.json {
            let hint = if tests == 0 { "; write `tests:` into a source's file" } else { "" };
            writeln!(out, "{tests} {}, {failed} failed{hint}", many("test", tests))?;
        }
        std::io::stdout().write_all(crate::secrets::hide(&out).as_bytes())?;
        Ok(if failed + broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn tried(config: &SourceConfig, test: &PageTest, context: &Context) -> Tested {
    let folder = config.path.parent().unwrap_or(Path::new(""));
    let followed = test.follow.iter().map(|(link, file)| Ok((link.clone(), saved::bytes(&folder.join(file))?)));
    let report = followed.collect::<anyhow::Result<_>>().and_then(|follow| {
        let page = SavedPage { values: test.values.clone(), follow, ..SavedPage::default() };
        saved::read(config, &folder.join(&test.page), page, context)
    });
    match report {
        Ok(report) => {
            let names = config.settings.data_names().unwrap_or_default();
            let differences = differences(&test.expect, &report, &names);
            Tested { error: None, differences, report: Some(report) }
        }
        Err(error) => Tested { error: Some(format!("{error:#}")), differences: Vec::new(), report: None },
    }
}

fn write_text(out: &mut String, file: &Path, test: &PageTest, tested: &Tested) -> std::fmt::Result {
    let word = if tested.is_good() { "ok      " } else { "failed  " };
    writeln!(out, "{word}{}: {}", harmless(&file.display().to_string()), harmless(&test.page))?;
    if let Some(error) = &tested.error {
        writeln!(out, "  {}", harmless(error))?;
    }
    for difference in tested.differences.iter().take(SHOWN_MAX) {
        writeln!(out, "  {}", harmless(&difference.at))?;
        writeln!(out, "  - expected  {}", harmless(&difference.expected))?;
        writeln!(out, "  + found     {}", harmless(&difference.found))?;
    }
    if tested.differences.len() > SHOWN_MAX {
        writeln!(out, "  … and {} more", tested.differences.len() - SHOWN_MAX)?;
    }
    // How the fields in question came about, as `try` shows it.
    let findings = tested.report.iter().flat_map(|report| &report.fields);
    let is_about = |difference: &Difference, field: &str, row: Option<usize>| {
        let is_field = difference.field.as_deref().is_none_or(|name| field == format!("fields.{name}"));
        is_field && (difference.row.is_none() || difference.row == row)
    };
    let shown = findings.filter(|finding| {
        tested.differences.iter().any(|difference| is_about(difference, &finding.field, finding.row))
    });
    for finding in shown.take(SHOWN_MAX) {
        let mut words = String::new();
        write_finding(&mut words, finding)?;
        for line in words.lines() {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}

fn write_json(out: &mut String, file: &Path, test: &PageTest, tested: &Tested) -> std::fmt::Result {
    let differences: Vec<_> = tested
        .differences
        .iter()
        .map(|difference| json!({ "at": difference.at, "expected": difference.expected, "found": difference.found }))
        .collect();
    let all = json!({
        "file": file, "page": test.page, "ok": tested.is_good(), "error": tested.error, "differences": differences,
        "report": tested.report.as_ref().filter(|_| !tested.is_good()),
    });
    writeln!(out, "{all}")
}
