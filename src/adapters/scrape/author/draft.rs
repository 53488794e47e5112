//! A first file for a source, made of texts that somebody has seen on its page.

use std::collections::BTreeSet;

use scraper::ElementRef;
use serde_json::json;

use super::super::contract::STAND_INS;
use super::super::page::Page;
use super::super::select::Watch;
use super::form::form;
use super::list::{List, list};
use super::rule::{Rule, scalar};
use super::spot::{Spot, data_rules, element_rules, heading_of, is_same, label_of, spots};

/// Other ways that are named beside the one that was chosen.
const OTHERS_MAX: usize = 3;
/// How much of a text a comment shows.
const SHOWN_CHARS: usize = 60;
/// A longer name is a sentence.
const NAME_CHARS_MAX: usize = 30;

/// Something to look for.
#[derive(Debug, Clone)]
pub struct Find {
    /// What the field is to be called.
    pub name: Option<String>,
    /// The text, as it stands on the page, or a number written otherwise.
    pub text: String,
}

/// A first file.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The file.
    pub yaml: String,
    /// What whoever asked for it should look at.
    pub notes: Vec<String>,
}

/// A field of it.
struct Line {
    name: String,
    rule: Rule,
    comment: Vec<String>,
}

struct Drafting<'a, 'f> {
    html: &'f str,
    page: &'a Page,
    watch: &'a Watch,
    locale: Option<&'f str>,
    names: BTreeSet<String>,
    notes: Vec<String>,
}

/// Makes a file for the page at `url`. `locale` says how its numbers are written, where somebody knows.
///
/// # Errors
/// In words, when the page cannot be parsed, or has not one of the texts.
pub fn draft(html: &str, url: &str, every: &str, finds: &[Find], locale: Option<&str>) -> Result<Draft, String> {
    let page = Page::parse(html).map_err(|refused| refused.to_string())?;
    let watch = Watch::start();
    let mut drafting = Drafting { html, page: &page, watch: &watch, locale, names: BTreeSet::new(), notes: Vec::new() };
    let found: Vec<(&Find, Vec<Spot<'_>>)> =
        finds.iter().map(|find| (find, spots(page.root(), &find.text, &watch))).collect();
    let rows = drafting.rows(&found);
    let lines = match &rows {
        Some(list) => drafting.columns(list, &found)?,
        None => found.iter().map(|(find, spots)| drafting.single(find, spots)).collect::<Result<_, _>>()?,
    };
    let mut yaml = format!(
        "# A first draft, made by `tapline new scrape`. See that each field is what you mean; `tapline try` shows it.\n\
         kind: scrape\nurl: {}\n# How often it asks. The site's robots.txt and limits are kept whatever stands here.\nevery: {}\n",
        scalar(&json!(url)),
        scalar(&json!(every)),
    );
    if let Some(list) = &rows {
        let css = scalar(&json!(list.css));
        let count = list.count.to_string();
        yaml.extend(["# ", &count, " rows match now; each is a record.\nrecords: ", &css, "\n"]);
    }
    yaml.push_str("fields:\n");
    for Line { name, rule, comment } in lines {
        for line in comment {
            yaml.extend(["  # ", &line, "\n"]);
        }
        yaml.extend(["  ", &scalar(&json!(name)), ": ", &rule.yaml(), "\n"]);
    }
    Ok(Draft { yaml, notes: drafting.notes })
}

impl<'a> Drafting<'a, '_> {
    /// The rows of the page, if the texts stand in several of them.
    fn rows(&self, found: &[(&Find, Vec<Spot<'a>>)]) -> Option<List<'a>> {
        let elements: Vec<ElementRef<'a>> = found
            .iter()
            .filter_map(|(_, spots)| spots.iter().find(|spot| spot.regex.is_none()))
            .map(|spot| spot.element)
            .collect();
        // Labels and values beside them are no rows, and neither is what somebody gives different names.
        let is_pair = |element: &ElementRef<'_>| {
            let cell = std::iter::once(*element).chain(element.ancestors().filter_map(ElementRef::wrap).take(2));
            cell.filter(|cell| matches!(cell.value().name(), "td" | "dd")).any(|cell| {
                cell.prev_siblings()
                    .find_map(ElementRef::wrap)
                    .is_some_and(|before| matches!(before.value().name(), "th" | "dt"))
            })
        };
        if elements.iter().any(is_pair) {
            return None;
        }
        let rows = list(self.page.root(), &elements, self.watch)?;
        let mut columns: Vec<(Rule, &str)> = Vec::new();
        for (find, spots) in found {
            let Some(name) = find.name.as_deref() else { continue };
            let (rule, _) = rows.rule(self.html, spots.first()?, &find.text, self.watch)?;
            if columns.iter().any(|(other, called)| *other == rule && *called != name) {
                return None;
            }
            columns.push((rule, name));
        }
        Some(rows)
    }

    /// One field of each column.
    fn columns(&mut self, list: &List<'a>, found: &[(&Find, Vec<Spot<'a>>)]) -> Result<Vec<Line>, String> {
        let mut lines: Vec<Line> = Vec::new();
        let mut rules: Vec<Rule> = Vec::new();
        for (find, spots) in found {
            let inside =
                spots.iter().find_map(|spot| Some((spot, list.rule(self.html, spot, &find.text, self.watch)?)));
            let Some((spot, (rule, count))) = inside else {
                return Err(format!(
                    "{} is in none of the rows `{}`; leave it out, or make a second source of it",
                    shown(&find.text),
                    list.css
                ));
            };
            if rules.contains(&rule) {
                continue;
            }
            rules.push(rule.clone());
            let raw = rule.texts(self.html, Some(&list.css)).into_iter().find(|text| is_same(text, &find.text));
            let mut comment = vec![format!("{}: found in {count} of {} rows", shown(&find.text), list.count)];
            let is_everywhere = count == list.count;
            let rule = self.typed(rule, &raw.unwrap_or_default(), &mut comment);
            let rule = if is_everywhere { rule } else { rule.with("required", false) };
            let name = self.name(find, Some(spot), heading_of(spot.element), &rule);
            lines.push(Line { name, rule, comment });
        }
        Ok(lines)
    }

    /// A field of a page that is one record.
    fn single(&mut self, find: &Find, spots: &[Spot<'a>]) -> Result<Line, String> {
        let root = self.page.root();
        let mut rules: Vec<(Option<&Spot<'a>>, Rule)> = Vec::new();
        for spot in spots {
            rules.extend(element_rules(root, spot, self.watch).into_iter().map(|rule| (Some(spot), rule)));
        }
        rules.extend(data_rules(root, &find.text, self.watch).into_iter().map(|rule| (None, rule)));
        // What people see comes first, and of one spot the most lasting rule.
        let mut working = rules.into_iter().filter_map(|(spot, rule)| {
            let texts = rule.texts(self.html, None);
            texts.first().filter(|text| is_same(text, &find.text)).map(|text| (spot, rule.clone(), text.clone()))
        });
        let Some((spot, rule, raw)) = working.next() else {
            let described = super::super::looks::describe(root);
            return Err(format!("{} is not on the page; {described}", shown(&find.text)));
        };
        let others: Vec<String> = working.map(|(_, rule, _)| rule.yaml()).take(OTHERS_MAX).collect();
        let places = spots.iter().map(|spot| spot.element.id()).collect::<Vec<_>>();
        let count = places.iter().enumerate().filter(|(index, id)| !places[..*index].contains(id)).count();
        let mut comment = vec![match count {
            0 => format!("{}: in data that the page carries", shown(&find.text)),
            1 => shown(&find.text),
            count => format!("{}: the page has it in {count} places, and this is the first", shown(&find.text)),
        }];
        if !others.is_empty() {
            comment.push(format!("or: {}", one_line(&others.join("   or: "))));
        }
        let rule = self.typed(rule, &raw, &mut comment);
        let name = self.name(find, spot, spot.and_then(|spot| label_of(spot.element)), &rule);
        Ok(Line { name, rule, comment })
    }

    /// The rule with a type and a format.
    fn typed(&mut self, rule: Rule, raw: &str, comment: &mut Vec<String>) -> Rule {
        let value = match rule.0.iter().find(|(key, _)| key == "regex") {
            Some((_, regex)) => {
                let regex = regex.as_str().and_then(|regex| regex::Regex::new(regex).ok());
                let found = regex.as_ref().and_then(|regex| regex.captures(raw)).and_then(|captures| captures.get(1));
                found.map_or_else(String::new, |found| found.as_str().to_owned())
            }
            None => raw.to_owned(),
        };
        let form = form(&value, self.page.root().attr("lang"), self.locale);
        if let Some(note) = form.note {
            let note = one_line(&note);
            comment.push(format!("LOOK: {note}"));
            self.notes.push(note);
        }
        form.keys.into_iter().fold(rule, |rule, (key, value)| rule.with(key, value))
    }

    /// A name that no other field has: the one that was asked for, or one made of what names it on the page.
    fn name(&mut self, find: &Find, spot: Option<&Spot<'_>>, label: Option<String>, rule: &Rule) -> String {
        let asked = find.name.clone();
        let by_label = || label.map(|label| slug(&label));
        let by_page = || {
            let tag = spot?.element.value();
            let named =
                ["itemprop", "data-field", "data-testid", "data-name", "id"].iter().find_map(|key| tag.attr(key));
            named.or_else(|| tag.classes().next()).map(slug)
        };
        let by_rule = || {
            rule.0
                .first()
                .and_then(|(_, value)| value.as_str())
                .and_then(|path| path.rsplit(['.', ':', ' ']).next())
                .map(slug)
        };
        let is_name = |name: &String| !name.is_empty() && name != STAND_INS;
        let found = asked
            .or_else(|| by_label().filter(is_name))
            .or_else(|| by_page().filter(is_name))
            .or_else(|| by_rule().filter(is_name));
        let base = found.unwrap_or_else(|| "value".to_owned());
        let mut name = base.clone();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }
}

/// Words as a name: `Last price` is `last_price`.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        match c.is_alphanumeric() {
            true => out.push(c),
            false if !out.is_empty() && !out.ends_with('_') => out.push('_'),
            false => {}
        }
        if out.chars().count() >= NAME_CHARS_MAX {
            break;
        }
    }
    let out = out.trim_end_matches('_').to_owned();
    if out.starts_with(|first: char| first.is_ascii_digit()) { format!("_{out}") } else { out }
}

/// A text of the page for a comment: short, and of one line.
fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN_CHARS).collect();
    format!("\"{}\"", one_line(&short))
}

fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .filter(|c| !matches!(c, '\u{2028}' | '\u{2029}' | '\u{85}' | '\u{feff}'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(html: &str, finds: &[&str]) -> String {
        let finds: Vec<Find> = finds
            .iter()
            .map(|find| match find.split_once('=') {
                Some((name, text)) => Find { name: Some(name.to_owned()), text: text.to_owned() },
                None => Find { name: None, text: (*find).to_owned() },
            })
            .collect();
        match draft(html, "https://example.com/q?a=1", "1m", &finds, None) {
            Ok(draft) => draft.yaml.lines().skip(5).collect::<Vec<_>>().join("\n"),
            Err(why) => why,
        }
    }

    #[test]
    fn single_values() {
        let page = "<html lang=en-IN><h1>BSE SENSEX</h1><table><tr><th>Last price<td>59,465.68<tr><th>Open:<td class='css-1a2b3c'>59,100.00</table>\
                    <div id=quote><span class=chg>-0.45%</span></div><time datetime=2026-11-23T07:04:05Z>noon</time>\
                    <script type=application/ld+json>{\"@type\":\"Product\",\"offers\":{\"price\":1234.5}}</script>";
        insta::assert_snapshot!(of(page, &["59465.68", "open=59,100.00", "-0.45%", "2026-11-23T07:04:05Z", "1,234.5"]), @r##"
        fields:
          # "59465.68"
          # or: "html > body > table > tbody > tr:nth-of-type(1) > td"
          last_price: { near: "Last price", type: number, locale: en-IN }
          # "59,100.00"
          # or: "html > body > table > tbody > tr:nth-of-type(2) > td"
          open: { near: Open, type: number, locale: en-IN }
          # "-0.45%"
          # or: span.chg   or: "#quote .chg"   or: span
          chg: { css: ".chg", type: percent, locale: en-IN }
          # "2026-11-23T07:04:05Z"
          # or: { css: "html > body > time", attr: datetime }
          time: { css: time, attr: datetime, type: datetime }
          # "1,234.5": in data that the page carries
          price: { jsonld: "$.offers.price", type: number, locale: en-IN }
        "##);
        insta::assert_snapshot!(of("<p>x</p>", &["59,465.68"]), @r#""59,465.68" is not on the page; the page has 1 B of text and 0 scripts"#);
    }

    #[test]
    fn rows_of_a_table() {
        let page = "<table class=q><tr><th>Symbol<th>Price<tr><td class=s>RELIANCE<td class=p>2,456.70<tr><td class=s>MRF<td class=p><tr><td class=s>TCS<td class=p>3,001.00</table>";
        insta::assert_snapshot!(of(page, &["RELIANCE", "3,001.00"]), @r##"
        # 3 rows match now; each is a record.
        records: ".q tr:has(td)"
        fields:
          # "RELIANCE": found in 3 of 3 rows
          symbol: ".s"
          # "3,001.00": found in 2 of 3 rows
          price: { css: ".p", type: number, required: false }
        "##);
    }

    #[test]
    fn names() {
        for (text, expected) in [
            ("Last price", "last_price"),
            ("P/E (TTM)", "p_e_ttm"),
            ("52 week high", "_52_week_high"),
            ("—", ""),
            ("Größe", "größe"),
        ] {
            assert_eq!(slug(text), expected, "{text}");
        }
        assert_eq!(one_line("a\n# b\u{2028}"), "a\\n# b");
    }
}
