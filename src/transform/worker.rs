//! A thread on which the expressions of one source are worked out.
//!
//! It is none of the runtime's: whoever ends a runtime waits for its threads, and an expression that does not end would
//! keep the process from ending.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use super::{Done, Steps, run};
use crate::item::Item;

/// The thread, once there was work for it. It ends with this.
#[derive(Default)]
pub(super) struct Worker(Mutex<Option<Sender<Job>>>);

struct Job {
    steps: Arc<Steps>,
    items: Vec<Item>,
    answer: oneshot::Sender<Done>,
}

impl Worker {
    /// What becomes of items. `None` when the thread broke off, or cannot be had.
    pub(super) async fn run(&self, steps: &Arc<Steps>, items: Vec<Item>) -> Option<Done> {
        let (answer, done) = oneshot::channel();
        self.hand_over(Job { steps: Arc::clone(steps), items, answer })?;
        done.await.ok()
    }

    fn hand_over(&self, mut job: Job) -> Option<()> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = sender.as_ref() {
            match known.send(job) {
                Ok(()) => return Some(()),
                // It broke off, and is made again.
                Err(back) => job = back.0,
            }
        }
        let new = start()?;
        new.send(job).ok()?;
        *sender = Some(new);
        Some(())
    }
}

fn start() -> Option<Sender<Job>> {
    let (sender, jobs) = channel::<Job>();
    let work = move || {
        for Job { steps, items, answer } in jobs {
            // Whoever asked may have given up.
            answer.send(run(&steps, items)).ok();
        }
    };
    thread::Builder::new().name("transform".into()).spawn(work).ok()?;
    Some(sender)
}
