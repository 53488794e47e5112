//! Where records are written as they happen: segments, text renderings, standard output.

pub mod segments;
pub mod stdout;
pub mod text;
