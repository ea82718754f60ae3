//! What becomes of core dumps, lent to one test at a time.

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `/proc/sys/kernel/core_pattern`, which is one for the whole machine, while it is ours.
pub struct CorePattern {
    before: String,
    _turn: MutexGuard<'static, ()>,
}

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";

impl CorePattern {
    pub fn set(pattern: &str) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let before = fs::read_to_string(CORE_PATTERN).unwrap();
        fs::write(CORE_PATTERN, pattern).unwrap();
        assert_eq!(fs::read_to_string(CORE_PATTERN).unwrap().trim_end(), pattern, "the kernel has taken it");
        Self { before, _turn: turn }
    }
}

impl Drop for CorePattern {
    fn drop(&mut self) {
        let _ = fs::write(CORE_PATTERN, &self.before);
    }
}
