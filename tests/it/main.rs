//! All integration tests in one binary, so that it is linked once.

#[path = "../support/mod.rs"]
mod support;

mod activation;
mod core_dumps;
mod dry_run;
mod environment;
mod errors;
mod errors_environment;
mod errors_local;
mod errors_network;
mod errors_proxy;
mod errors_server;
mod hostile;
mod house;
mod hygiene;
mod names;
mod oracle;
mod requests;
mod retries;
mod selection;
mod server_selection;
mod signals;
mod smoke;
mod standard_streams;
mod token_secrecy;
mod token_sources;
mod transparent;
mod usage;
