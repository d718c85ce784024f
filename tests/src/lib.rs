//! An empty library: the tests of the whole are in `conformance.rs` beside this folder.
