//! The stay-resident mode: what an exec cannot do.

// Until the supervise mode pumps by it, nothing but its tests and its benchmark does.
#[cfg_attr(not(test), expect(dead_code))]
pub mod mask;
