//! What a person at a terminal sees of an export: a bar, segment by segment.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar; nothing where there is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let target =
            if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{bar:30} {percent}% {human_pos} of {human_len} segments, {eta} left");
        bar.set_style(style.expect("invariant: the template is right"));
        Self(bar)
    }

    pub(super) fn expect(&self, segments: u64) {
        self.0.set_length(segments);
    }

    pub(super) fn step(&self) {
        self.0.inc(1);
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
