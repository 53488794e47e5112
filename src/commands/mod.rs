//! One file per subcommand: the only place that may know everything.

pub mod adapters;
pub mod check;
pub mod coverage;
pub mod demo;
pub mod export;
pub mod health;
pub mod load;
pub mod loaders;
pub mod loading;
pub mod logging;
pub mod notify;
pub mod page;
pub mod parts;
pub mod redrive;
pub mod renderings;
pub mod run;
pub mod schema;
pub mod serving;
pub mod signals;
pub mod simulate;
pub mod sources;
pub mod status;
pub mod tail;
pub mod terminal;
pub mod try_source;
