//! The one integration binary: real sockets, real servers, real files. One module per thing that is promised.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing there")]
#![allow(clippy::format_collect, clippy::similar_names, reason = "tests are read, not tuned")]
#![allow(unreachable_pub, reason = "there is nobody outside to reach it")]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests say what they measured, and how to repeat a failure"
)]

mod support;

// What of the code may stand where, and how large it may be.
mod tidy;
// Broken YAML files, and the words for what is wrong with them.
mod config;
// Generated pages and schemas are those of the code, and shipped files are right.
mod docs;
// Everything that the pages tell a reader to write and to type is written and typed.
mod pages;
// The schedule against clocks that jump and seasons that change.
mod schedule;
// The driver against a source that does what a script says, on paused time.
mod driver;
mod driver_streams;
// A day of each preset against a server with the habits of the real one, on paused time.
mod preset_days;
mod preset_days_polls;
mod preset_days_posts;
// The simulated exchange at the socket: what really arrives, fault by fault.
mod simulator;
// The service as its user meets it: a live folder, an orderly end, a disk that fills, a link to tail.
mod service;
// Fields of pages: the guide's examples, a page that changes, what a browser shows.
mod fields;
// Sources that ask for more than one page: symbols, lists, links.
mod asks;
mod asks_login;
// Pages that change under a source, and tools for who writes its file.
mod drift;
// The same where one file asks for many pages.
mod drift_many;
// What `coverage` and `status` say, beside what the files say.
mod coverage;
// Pages that a browser draws.
mod render;
// Answers that are kept, and given again.
mod replay;
// What `health` says of a service that runs, stands still, or has no room.
mod health;
// What systemd hears, and the unit that is shipped.
mod systemd;
// What a site sees of its guests, and places that no source may be led to.
mod manners;
// The adapter `scrape` against a server that nobody here wrote.
mod nginx;
// Signed requests as a server checks them, and keys that stand nowhere.
mod signing;
// The adapter `feed` against a simulated site and nginx: faults, restarts, kills.
mod feed;
// The adapter `json` against a simulated API: pages, values to ask from, faults, kills.
mod json_api;
// The adapter `x_stream` against the simulated X: everything that goes wrong there, and kills.
mod x_stream;
// The adapter `sse` against simulated servers, and one that nobody here wrote.
mod exec;
mod exec_ends;
mod exec_taps;
mod sse;
// The adapter `websocket` likewise.
mod websocket;
// Presets in the real program; those of websockets are among them.
mod presets;
// The older protocol, signed.
mod x_legacy;
// The simulated X against clients that nobody here wrote.
mod tweepy;
// Loading: the loop against a store that does what a script says, and one module for each store.
mod load;
mod load_brokers;
mod load_http;
#[cfg(feature = "kafka")]
mod load_kafka;
mod load_mongo;
mod load_nats;
mod load_outage;
mod load_postgres;
mod load_redis;
mod load_s3;
mod load_sqlite;
// The HTTP endpoint and the live page, in a real browser.
mod metrics;
mod web;
// What must never be seen.
mod canary;
// What a person is told when something breaks: the real program and real servers, and a week in paused time.
mod alerts;
mod alerts_week;
// Exports, read with what researchers read them with.
mod export;
// The data folder's format: refused, upgraded, and readable for ever.
mod format;
mod format_one;
// Every message that the program can say, and what to do about it.
mod troubleshooting;
// Completion, man pages, the reference.
mod manual;
// What the machine, the data and the network are like, in words.
mod doctor;
// Upstreams that would break it.
mod hostile;
// Memory that stays flat while hosts and keys come and go.
mod soak;
// Killed at random moments and at every operation: nothing torn, lost or doubled, every slot accounted for.
mod torture_kill;
// A simulated disk crashed at every step, filled at every byte, failing at every sync.
mod torture_disk;
