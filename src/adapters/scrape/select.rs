//! Finding elements, for a bounded time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use scraper::ElementRef;

use super::css::Css;

/// How long the selectors of one page may take all together. A large page takes a hundredth of it.
const TIME_MAX: Duration = Duration::from_secs(2);

const ASKED_PER_LOOK: u32 = 16;

/// The time that is left for one page.
pub(super) struct Watch {
    until: Instant,
    is_over: Cell<bool>,
    /// How often it was asked: it looks at the clock only some of the times, because that takes longer than most matches.
    asked: Cell<u32>,
}

/// The time ran out.
#[derive(Debug, thiserror::Error)]
#[error("page_too_slow: the selectors took more than {} on this page", humantime::format_duration(TIME_MAX))]
pub(super) struct TooSlow;

impl Watch {
    /// Starts the time.
    pub(super) fn start() -> Self {
        Self::start_of(TIME_MAX)
    }

    /// The same with less time.
    pub(super) fn start_of(time: Duration) -> Self {
        Self { until: Instant::now() + time, is_over: Cell::new(false), asked: Cell::new(0) }
    }

    /// Whether the time is over: what was found until then is not all there is.
    pub(super) fn is_over(&self) -> bool {
        self.asked.set(self.asked.get().wrapping_add(1));
        if !self.is_over.get() && self.asked.get().is_multiple_of(ASKED_PER_LOOK) {
            self.is_over.set(Instant::now() > self.until);
        }
        self.is_over.get()
    }
}

/// Every match in the page's order, below `scope`, and with `or_self` also `scope` itself. It ends early when the time
/// is over, which the caller has to ask `watch`.
pub(super) fn matches<'a>(
    scope: ElementRef<'a>,
    css: &'a Css,
    or_self: bool,
    watch: &'a Watch,
) -> Box<dyn Iterator<Item = ElementRef<'a>> + 'a> {
    let selector = &css.selector;
    let itself = std::iter::once(scope).filter(move |scope| or_self && selector.matches(scope));
    if css.is_costly {
        // Each of a hundred thousand siblings may look at all the others, so the time is looked at between any two.
        let below = scope.descendent_elements().skip(1).take_while(|_| !watch.is_over());
        Box::new(itself.chain(below.filter(move |element| selector.matches_with_scope(element, Some(scope)))))
    } else {
        Box::new(itself.chain(scope.select(selector)))
    }
}
