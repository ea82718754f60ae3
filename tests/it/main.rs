//! All integration tests in one binary, so that it is linked once.

#[path = "../support/mod.rs"]
mod support;

mod activation;
mod cache;
mod cache_limits;
mod cache_options;
mod cache_session;
mod cache_sharing;
mod config_profiles;
mod core_dumps;
mod docs;
mod dry_run;
mod env_files;
mod environment;
mod errors;
mod errors_environment;
mod errors_local;
mod errors_network;
mod errors_proxy;
mod errors_references;
mod errors_server;
mod hostile;
mod house;
mod hygiene;
mod levels;
mod names;
mod oracle;
mod policy;
mod references;
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
