//! All integration tests in one binary, so that it is linked once.

#[path = "../support/mod.rs"]
mod support;

mod house;
mod oracle;
mod smoke;
