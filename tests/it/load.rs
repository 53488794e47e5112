//! The loader loop against a store that does what a script says.
