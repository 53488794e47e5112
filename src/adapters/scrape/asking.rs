//! The part of the settings that is about asking for the page, checked and made into a request.

use chrono::DateTime;
use chrono_tz::Tz;
use encoding_rs::Encoding;
use http::header::HeaderValue;

use super::Scrape;
use super::paging::Paging;
use crate::fetch::{Filled, Names, Request, Values};
use crate::source::Problem;

/// What is asked for.
const ACCEPT: HeaderValue = HeaderValue::from_static("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");

impl Scrape {
    /// The names that may stand in braces.
    pub(super) fn names(&self) -> Names<'_> {
        let variables = self.for_each.as_ref().map_or(&[][..], |for_each| &for_each.names);
        Names { variables, has_page: self.pages.as_ref().is_some_and(Paging::counts) }
    }

    /// The part of the settings that is about fetching, checked, for one page.
    pub(super) fn request(&self, values: &Values<'_>) -> Result<Request, Vec<Problem>> {
        let fill = |text: &str| Filled::loose(text, self.names()).map(|filled| filled.text(values));
        let url = Filled::strict(&self.url, self.names()).and_then(|filled| filled.address(values));
        let request = self.ask.request(url, ACCEPT, &fill);
        match self.encoding_problem() {
            Some(problem) => Err([request.err().unwrap_or_default(), vec![problem]].concat()),
            None => request,
        }
    }

    fn encoding_problem(&self) -> Option<Problem> {
        let label = self.encoding.as_ref().filter(|label| Encoding::for_label(label.as_bytes()).is_none())?;
        let message =
            format!("`{}` is no encoding of the web; write one such as utf-8 or windows-1251", label.escape_debug());
        Some(Problem::new(["encoding"], message))
    }

    /// What is wrong with what is asked for, for all the pages that the file is written out to.
    pub(super) fn asking_problems(&self) -> Vec<Problem> {
        let names = self.names();
        let values = |variables| Values {
            variables,
            at: DateTime::UNIX_EPOCH,
            timezone: Tz::UTC,
            page: self.pages.as_ref().map_or(1, Paging::first),
        };
        let mut problems = self
            .for_each
            .as_ref()
            .map_or_else(Vec::new, |for_each| for_each.problems(self.values_in_data.as_ref(), &self.fields));
        let sample = vec!["x".to_owned(); names.variables.len()];
        let wrong = self.request(&values(&sample)).err();
        if let (None, true, Some(for_each)) = (&wrong, problems.is_empty(), &self.for_each) {
            // What is wrong with some values only is said with the first of them.
            let found = for_each.all.iter().find_map(|own| Some((own, self.request(&values(own)).err()?)));
            problems.extend(found.into_iter().flat_map(|(own, found)| {
                let with = for_each.label(own);
                found.into_iter().map(move |problem| Problem {
                    message: format!("{}; with {}", problem.message, with.escape_debug()),
                    ..problem
                })
            }));
        }
        problems.extend(wrong.unwrap_or_default());
        if problems.is_empty() {
            problems.extend(self.unused());
        }
        problems
    }

    /// Names that stand nowhere: the same page would be asked for again and again.
    fn unused(&self) -> Vec<Problem> {
        let names = self.names();
        let mut texts: Vec<&str> = vec![&self.url];
        texts.extend(self.ask.texts());
        let filled: Vec<Filled> = texts.iter().filter_map(|text| Filled::loose(text, names).ok()).collect();
        let is_unused = |(index, _): &(usize, &String)| !filled.iter().any(|filled| filled.has_variable(*index));
        let mut problems: Vec<Problem> = names
            .variables
            .iter()
            .enumerate()
            .filter(is_unused)
            .map(|(_, name)| {
                let message = format!("`{{{name}}}` stands nowhere; put it into `url`, a header or the body");
                Problem::new(["for_each", name], message)
            })
            .collect();
        if names.has_page && !filled.iter().any(Filled::has_page) {
            problems.push(Problem::new(
                ["pages"],
                "`{page}` stands nowhere; put it into `url` or the body, or write `next`",
            ));
        }
        problems
    }
}
