//! A page in which everything is found needs not be read to its end.
//!
//! That the rest would change nothing is known where each field is the first (or the n-th) match of a selector that looks
//! only backwards, the element is closed, and nothing is open that lets later tags move it ([`super::plain`]). Where anything
//! was not as it should be, the page is read whole, so that what is said of it is said of all of it.

use std::time::Duration;

use ego_tree::NodeId;
use memchr::memmem;
use scraper::Html;

use super::css::Css;
use super::place::Place;
use super::plan::{FieldPlan, Make, Pick, Plan};
use super::select::{Watch, matches};

/// What all looks at one page may take where its selectors are costly: a part of what reading the rest does.
const TIME_MAX: Duration = Duration::from_millis(20);

/// What is looked at before the tree is.
pub(super) struct Early<'a> {
    plan: &'a Plan,
    watch: Watch,
    /// How much has to be read before all fields can be there, in bytes.
    pub(super) from: usize,
}

impl<'a> Early<'a> {
    /// How this page may be read in part; `None` where it has to be read whole.
    pub(super) fn of(plan: &'a Plan, html: &str) -> Option<Self> {
        if plan.rows.is_some() || plan.fields.is_empty() || !plan.fields.iter().all(is_forward) {
            return None;
        }
        let mut from = 0;
        for needle in plan.fields.iter().filter_map(|field| css(field)?.needle.as_deref()) {
            from = from.max(memmem::find(html.as_bytes(), needle.as_bytes())?);
        }
        Some(Self { plan, watch: Watch::start_of(TIME_MAX), from })
    }

    /// Whether each field's element is there, and closed.
    pub(super) fn is_enough(&self, html: &Html, is_open: &dyn Fn(NodeId) -> bool) -> bool {
        self.plan.fields.iter().all(|field| {
            let (Some(css), Pick::FromStart(index)) = (css(field), field.pick) else { return false };
            let found = matches(html.root_element(), css, true, &self.watch).nth(index);
            !self.watch.is_over() && found.is_some_and(|element| !is_open(element.id()))
        })
    }
}

fn css(field: &FieldPlan) -> Option<&Css> {
    if let Some(Place::Css(css)) = field.places.first() { Some(css) } else { None }
}

fn is_forward(field: &FieldPlan) -> bool {
    let is_one = matches!(field.pick, Pick::FromStart(_)) && !matches!(field.make, Make::Fields(_));
    is_one && css(field).is_some_and(|css| css.is_forward)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::checks::pages::{FORWARD, part, plan};
    use super::super::plain::tests::{nested, page};

    #[test]
    fn a_page_is_left_once_all_is_found() {
        let plan = plan(&Value::Null, &json!({ "a": ".a", "b": { "css": ["#b", ".c"], "attr": ["x", "y"] } }));
        let rest = "<p>more</p>".repeat(100);
        for (html, is_early) in [
            (format!("<i class=a>1</i><u id=b y=2></u>{rest}"), true),
            (format!("<div class=a>1</div><div><u id=b x=2></u>{rest}</div>"), true),
            // Not closed; in a table; in what may be opened again; not there.
            (format!("<div class=a>1<u id=b x=2></u>{rest}</div>"), false),
            (format!("<table><tr><td><i class=a>1</i><u id=b x=2></u>{rest}"), false),
            (format!("<b><i class=a>1</i><u id=b x=2></u>{rest}"), false),
            (format!("<i class=a>1</i>{rest}<u class=c x=2></u>"), false),
            // What would change what is there already.
            (format!("<i class=a>1</i><u id=b x=2></u>{rest}<body class=a>"), false),
            (format!("<i class=a>1</i><u id=b x=2></u>{rest}<HTML class=a>"), false),
        ] {
            assert_eq!(part(&plan, &html), is_early, "{html}");
        }
        // It was left, and had to be read again, because the attribute is missing and a fall-back may have it.
        let html = format!("<i class=a>1</i><u id=b>2</u>{rest}<u class=c x=3></u>");
        assert!(part(&plan, &html));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The rest may be anything: what it does to what was read is found beforehand.
        #[test]
        fn what_a_page_becomes_is_the_same(
            first in nested(),
            mark in proptest::sample::select(vec!["<i class=a>1</i>", "<p class=a>1", "<div class=a id=z>1</div>", "<td class=a>1</td>", "<b class=a>1</b>"]),
            rest in page(),
            filler in 0..4_usize,
            css in proptest::sample::select(FORWARD.to_vec()),
            nth in 1..3_i32,
        ) {
            let plan = plan(&Value::Null, &json!({ "f": { "css": css, "nth": nth } }));
            part(&plan, &format!("{first}{mark}{}{rest}{mark}", "<p>filler text of some length</p>".repeat(filler * 8)));
        }
    }
}
