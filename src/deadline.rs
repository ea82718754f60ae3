//! The one budget of `--deadline`: DNS, TLS, login, fetch, retries, waiting and reading the token.

use std::time::{Duration, Instant};

/// A moment by which every wait ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    pub started: Instant,
    pub at: Instant,
    pub budget: Duration,
}

impl Deadline {
    /// `budget` counted from the start of the process.
    pub fn new(started: Instant, budget: Duration) -> Self {
        // A budget beyond the clock's range is as good as a century.
        let at = started.checked_add(budget).unwrap_or(started + Duration::from_secs(100 * 365 * 86_400));
        Self { started, at, budget }
    }

    /// The same budget, of which no more than `limit` may be used from now on.
    pub fn within(self, limit: Duration) -> Self {
        Self { at: self.at.min(Instant::now() + limit.min(self.left())), ..self }
    }

    /// What is left of it.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// An age as people say it: `12s`, `5m 12s`, `3h 5m`, `2d 3h`.
pub fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit} {small}{small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// Reads `500ms`, `30s`, `5m`, `24h`, `7d`, or a bare number of seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("expected a number with ms, s, m, h or d, such as 30s".into()),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis))
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a number with ms, s, m, h or d, such as 30s".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (312, "5m 12s"),
            (11_100, "3h 5m"),
            (86_400, "1d"),
            (183_600, "2d 3h"),
        ] {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [("500ms", 500), ("30", 30_000), ("30s", 30_000), ("5m", 300_000), ("0", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("1d"), Ok(Duration::from_secs(86_400)));
        for text in ["", "s", "-1s", "1.5s", "1 s", "1w", "99999999999999999999s", "9999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
