//! What a person sees of a load: a bar on a terminal, lines in a pipe.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::pipeline::load::Progress as Done;
use crate::report::lengths::many;
use crate::units::Size;

/// How often a bar moves.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far a loader is, until it is finished.
pub(super) struct Progress {
    task: AbortOnDropHandle<()>,
    over: CancellationToken,
}

impl Progress {
    /// Begins to show. `total` is how many bytes of lines there are to load.
    pub(super) fn start(total: Option<u64>, progress: watch::Receiver<Done>) -> Self {
        let over = CancellationToken::new();
        let token = over.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            if super::is_terminal() { bar(total, progress, token).await } else { lines(total, progress, token).await }
        }));
        Self { task, over }
    }

    /// Ends it, so that what is said next has a line of its own.
    pub(super) async fn finish(self) {
        self.over.cancel();
        // A task that could not draw is no reason to fail.
        self.task.await.ok();
    }
}

async fn bar(total: Option<u64>, progress: watch::Receiver<Done>, over: CancellationToken) {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let form = if total.is_some() {
        "{bar:30} {percent}% {msg}, {binary_bytes_per_sec}, {binary_bytes} of {binary_total_bytes}, {eta} left"
    } else {
        "{spinner} {msg}, {binary_bytes_per_sec}, {binary_bytes}"
    };
    bar.set_style(ProgressStyle::with_template(form).expect("invariant: the template is right"));
    loop {
        let done = *progress.borrow();
        bar.set_position(done.bytes);
        bar.set_message(words(&done));
        tokio::select! {
            () = over.cancelled() => break,
            () = tokio::time::sleep(BAR_EVERY) => {}
        }
    }
    bar.finish_and_clear();
}

async fn lines(total: Option<u64>, progress: watch::Receiver<Done>, over: CancellationToken) {
    let began = Instant::now();
    let mut before = Done::default();
    loop {
        tokio::select! {
            () = over.cancelled() => return,
            () = tokio::time::sleep(LINE_EVERY) => {}
        }
        let done = *progress.borrow();
        // Who follows for months has quiet hours.
        if done == before {
            continue;
        }
        let rate = Size((done.bytes - before.bytes) / LINE_EVERY.as_secs());
        before = done;
        let left = total.map(|total| total.saturating_sub(done.bytes));
        let estimate = left.and_then(|left| {
            let per_second = done.bytes / began.elapsed().as_secs().max(1);
            left.checked_div(per_second).map(Duration::from_secs)
        });
        tracing::info!(
            rate = %format_args!("{rate}/s"),
            left = %left.map_or_else(|| "?".to_owned(), |left| Size(left).to_string()),
            estimate = %estimate.map_or_else(|| "?".to_owned(), |estimate| humantime::format_duration(estimate).to_string()),
            "{}", words(&done)
        );
    }
}

/// What was done, in words.
pub(super) fn words(done: &Done) -> String {
    let part = |count: u64, what: &str| if count > 0 { format!(", {} {what}", many(count)) } else { String::new() };
    let (exists, dead) = (part(done.exists, "were there already"), part(done.dead, "could not be stored"));
    let stuck = if done.is_stuck { ", waiting for the store" } else { "" };
    format!("{} records loaded{exists}{dead}{stuck}", many(done.records.saturating_sub(done.exists)))
}
