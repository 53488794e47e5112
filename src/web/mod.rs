//! The HTTP endpoint: the live page, metrics, and whether all is well.
//!
//! What is collected is hostile, and so may be whoever reaches the port. Every page is made here, as text, with a
//! policy that lets it run no script but our own; a request names a host that is ours; nothing but a look is allowed
//! without the token; and a connection gets so much memory and so much time, however slowly it speaks.

mod assets;
mod calendar;
mod chart;
mod chronicle;
mod difference;
mod guard;
pub mod health;
mod listen;
mod live;
mod metrics;
mod pages;
mod process;
mod site;
mod tail;
mod token;
mod trial;
mod view;

pub use listen::{Limits, Listening, serve};
pub use pages::router;
pub use site::{Parts, Site};
pub use token::{Token, read_or_make};
pub use trial::Trial;
