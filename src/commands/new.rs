//! `tapline new`: a first file for a source, made of what somebody has seen.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use url::Url;

use crate::adapters::scrape::author::{Draft, Find, draft};
use crate::cli::Global;
use crate::config;
use crate::context::{Context, SystemClock};
use crate::report::trial::Report;
use crate::secrets;

use super::terminal::harmless;
use super::try_source::to_text;
use super::{saved, sources};

/// A name that is made of an address has at most so many characters.
const NAME_CHARS_MAX: usize = 40;

/// The command's arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tapline new scrape https://example.com/sensex --find 59,465.68
  tapline new scrape https://example.com/sensex --find last=59,465.68 --find change=-28.75 --name sensex
  tapline new scrape https://example.com/stocks --find RELIANCE --find 3,001.00    two rows: a record for each row")]
pub struct New {
    /// What kind of source
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// The page's address
    url: Url,
    /// A text that the page shows, or a number written otherwise; NAME=TEXT names the field
    #[arg(long, value_name = "[NAME=]TEXT", required = true)]
    find: Vec<String>,
    /// What the source is called; by default after the address
    #[arg(long)]
    name: Option<String>,
    /// How often it asks
    #[arg(long, value_name = "TIME", default_value = "1m")]
    every: String,
    /// How the page writes its numbers, such as en-IN or de
    #[arg(long)]
    locale: Option<String>,
    /// Read this page, which somebody saved, instead of asking the site
    #[arg(long, value_name = "PAGE")]
    page: Option<PathBuf>,
    /// Print the file instead of writing it
    #[arg(long)]
    print: bool,
}

/// A kind of source that a first file can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A web page: the texts that you see on it are looked for, and selectors proposed.
    Scrape,
}

impl New {
    /// Carries out the command. The exit code is 1 when what was written does not find what it should.
    ///
    /// # Errors
    /// When the page does not come or has not one of the texts, or the file is there or cannot be written.
    pub fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let Kind::Scrape = self.kind;
        let name = self.name.clone().unwrap_or_else(|| name_of(&self.url));
        if let Err(why) = config::check_name(&name) {
            bail!("`{}` cannot be a source's name: {why}; give another with --name", name.escape_debug());
        }
        let file = global.sources.join(format!("{name}.yaml"));
        if !self.print && file.exists() {
            bail!("{} is there already; give another name with --name, or print with --print", file.display());
        }
        let context = Context::new(Arc::new(SystemClock));
        let page = match &self.page {
            Some(page) => saved::text(page)?,
            None => fetched(&self.url, &context)?,
        };
        let finds: Vec<Find> = self.find.iter().map(|find| find_of(find)).collect();
        let made =
            draft(&page, self.url.as_str(), &self.every, &finds, self.locale.as_deref()).map_err(anyhow::Error::msg)?;
        let shown = self.finish(&name, &file, &made, &page, &context)?;
        std::io::stdout().write_all(secrets::hide(&shown.0).as_bytes())?;
        Ok(if shown.1 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Checks what was made, writes it, and tells what it finds on the page.
    fn finish(
        &self,
        name: &str,
        file: &Path,
        made: &Draft,
        page: &str,
        context: &Context,
    ) -> anyhow::Result<(String, bool)> {
        let config = sources::read_source(name, &made.yaml).map_err(|wrong| {
            sources::say(&wrong);
            anyhow::anyhow!("what was made of the page is not right; say --every or --locale otherwise, or tell us")
        })?;
        if self.print {
            return Ok((made.yaml.clone(), true));
        }
        write(file, &made.yaml)?;
        let read = config
            .settings
            .read_page(&page.as_bytes().to_vec().into())
            .context("a page is read by this kind of source")??;
        let report = Report::of_page(name, None, read, context);
        let mut out = to_text(&report);
        for note in &made.notes {
            out.extend(["look at   ", &harmless(note), "\n"]);
        }
        let file = file.display();
        let file = file.to_string();
        out.extend(["written   ", &file, "; next: tapline try ", &file, "\n"]);
        Ok((out, report.outcome.is_good()))
    }
}

/// A text to look for, with the name that stands before it.
fn find_of(text: &str) -> Find {
    let is_name = |name: &&str| {
        name.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    match text.split_once('=').filter(|(name, _)| is_name(name)) {
        Some((name, text)) => Find { name: Some(name.to_owned()), text: text.to_owned() },
        None => Find { name: None, text: text.to_owned() },
    }
}

/// The page, asked for with the manners of every source.
fn fetched(url: &Url, context: &Context) -> anyhow::Result<String> {
    let yaml = format!(
        "kind: scrape\nurl: {}\nevery: 1h\nfields: {{ page: html }}\n",
        serde_json::to_string(&url.as_str().replace("${", "$%7B"))?
    );
    let config = sources::read_source("new", &yaml).map_err(|wrong| {
        let first = wrong.first().map_or_else(String::new, |wrong| wrong.message.clone());
        anyhow::anyhow!("{}: {first}", crate::context::shown_url(url))
    })?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut source = config.open(context)?;
        let report = Report::of(&config.name, None, source.as_mut(), None, context).await;
        let page = source.fetched();
        page.with_context(|| {
            format!("no page came to look into: {}", report.error.as_deref().unwrap_or(report.outcome.as_str()))
        })
    })
}

/// Writes a file that is not there yet.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    let mut out = opened.with_context(|| format!("cannot write {}", file.display()))?;
    out.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", file.display()))
}

/// A name made of an address: `www.example.com/markets/sensex` is `example-sensex`.
fn name_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let site = host.split('.').find(|label| *label != "www").filter(|_| url.domain().is_some());
    let last = url.path_segments().and_then(|segments| segments.rev().find(|segment| !segment.is_empty()));
    let last = last.map(|last| last.rsplit_once('.').map_or(last, |(stem, _)| stem));
    let text = site.into_iter().chain(last).collect::<Vec<_>>().join("-");
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(NAME_CHARS_MAX);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "page".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_addresses_and_of_fields() {
        for (url, expected) in [
            ("https://www.example.com/markets/sensex", "example-sensex"),
            ("https://example.co.uk/", "example"),
            ("http://127.0.0.1:8099/", "page"),
            ("http://127.0.0.1:8099/stocks.html?x=1", "stocks"),
            ("http://localhost/a%20b", "localhost-a-20b"),
        ] {
            assert_eq!(name_of(&url.parse().unwrap()), expected, "{url}");
        }
        let find = |text: &str| (find_of(text).name, find_of(text).text);
        assert_eq!(find("last=59,465.68"), (Some("last".into()), "59,465.68".into()));
        assert_eq!(find("a b=c"), (None, "a b=c".into()));
        assert_eq!(find("59,465.68"), (None, "59,465.68".into()));
    }
}
