//! What is known of a data folder, its sources and its loaders, in words for people and as numbers for programs: what
//! commands print and pages show is the same.

pub mod alerts;
pub mod committed;
pub mod conditions;
pub mod coverage;
pub mod health;
pub mod lengths;
pub mod loaders;
pub mod saved;
pub mod source;
pub mod sources;
pub mod trial;
