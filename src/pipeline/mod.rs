//! What is the same for all sources: schedule, driver, writer, ledger. Knows the traits, never a concrete adapter.
//!
//! A life: the writer takes up the data folder, the service starts one driver per source, each driver waits for its
//! ticks or its stream and hands what comes to the writer, which commits it in groups. The end is the same way back:
//! drivers close their books, the writer commits what it has taken, and whoever follows it reads to the end.

pub mod backoff;
pub mod commit;
pub mod coverage;
pub mod driver;
pub mod folder;
pub mod follow;
pub mod format;
pub mod incidents;
pub mod key;
pub mod ledger;
pub mod load;
pub mod metrics;
pub mod pulse;
pub mod schedule;
pub mod service;
pub mod state;
pub mod taken;
pub mod telling;
pub mod upkeep;
pub mod writer;
