//! What several modules of tests share.

pub(crate) mod alone;
pub(crate) mod clickhouse;
pub(crate) mod compose;
pub(crate) mod days;
pub(crate) mod gaps;
pub(crate) mod kill_fs;
pub(crate) mod loading;
pub(crate) mod model;
pub(crate) mod nginx;
pub(crate) mod page;
pub(crate) mod postgres;
pub(crate) mod relay;
pub(crate) mod server;
pub(crate) mod sim_fs;
pub(crate) mod stage;
pub(crate) mod stuck_fs;
pub(crate) mod tap;
