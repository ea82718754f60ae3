//! The server's "come back later", remembered from one launch to the next.
//!
//! Not sealed: there is nothing to hide, and every token of this user shares it, for the server counts
//! by address.

use std::time::Duration;

use super::stamp::Stamp;
use crate::error::Stage;

/// A server that asks for more is asked again after this.
const LONGEST: Duration = Duration::from_secs(5 * 60);
const HEADER: &str = "bws-exec limits 1";

/// What each of the two services has asked for, if anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub login: Option<Limit>,
    pub fetch: Option<Limit>,
}

/// A `Retry-After`, and when it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    told: Stamp,
    wait: Duration,
}

impl Limit {
    pub fn new(told: Stamp, wait: Duration) -> Self {
        Self { told, wait: wait.min(LONGEST) }
    }

    /// How much of it is left. A clock that was set back ends it.
    pub fn left(&self, now: &Stamp) -> Option<Duration> {
        self.wait.checked_sub(self.told.age(now)?).filter(|left| !left.is_zero())
    }
}

impl Limits {
    pub fn set(&mut self, stage: Stage, limit: Limit) {
        *match stage {
            Stage::Login => &mut self.login,
            Stage::Fetch => &mut self.fetch,
        } = Some(limit);
    }

    /// Lines of text: the name, the moment in nanoseconds of both clocks, the boot, the milliseconds.
    pub fn to_text(self) -> String {
        let mut text = format!("{HEADER}\n");
        for (name, limit) in [("login", self.login), ("fetch", self.fetch)] {
            if let Some(Limit { told, wait }) = limit {
                let boot_id = told.boot_id.map_or("-".into(), |id| uuid::Uuid::from_bytes(id).to_string());
                let (wall, boot) = (told.wall.as_nanos(), told.boot.as_nanos());
                text += &format!("{name} {wall} {boot} {boot_id} {}\n", wait.as_millis());
            }
        }
        text
    }

    /// What cannot be read is as if it had not been said.
    pub fn from_text(text: &str) -> Self {
        let mut limits = Self::default();
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return limits;
        }
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, wall, boot, boot_id, wait] = words[..] else { continue };
            let number = |text: &str| text.parse().ok();
            let (Some(wall), Some(boot), Some(wait)) = (number(wall), number(boot), number(wait)) else {
                continue;
            };
            let told = Stamp {
                wall: Duration::from_nanos(wall),
                boot: Duration::from_nanos(boot),
                boot_id: uuid::Uuid::try_parse(boot_id).ok().map(|id| *id.as_bytes()),
            };
            let limit = Some(Limit::new(told, Duration::from_millis(wait)));
            match name {
                "login" => limits.login = limit,
                "fetch" => limits.fetch = limit,
                _ => {}
            }
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Stamp {
        let clock = Duration::from_secs(seconds);
        Stamp { wall: clock, boot: clock, boot_id: Some([1; 16]) }
    }

    #[test]
    fn a_limit_ends_and_is_never_long() {
        let limit = Limit::new(at(1000), Duration::from_secs(60));
        assert_eq!(limit.left(&at(1000)), Some(Duration::from_secs(60)));
        assert_eq!(limit.left(&at(1059)), Some(Duration::from_secs(1)));
        assert_eq!(limit.left(&at(1060)), None);
        let before = Stamp { wall: Duration::from_secs(600), ..at(1001) };
        assert_eq!(limit.left(&before), None, "the clock was set back");
        assert_eq!(Limit::new(at(1000), Duration::MAX).left(&at(1000)), Some(LONGEST));
    }

    proptest! {
        #[test]
        fn it_comes_back_from_its_text(wall in any::<u64>(), boot in any::<u64>(), boot_id in proptest::option::of(any::<[u8; 16]>()), wait in any::<u32>()) {
            let told = Stamp { wall: Duration::from_nanos(wall), boot: Duration::from_nanos(boot), boot_id };
            let mut limits = Limits::default();
            prop_assert_eq!(Limits::from_text(&limits.to_text()), limits);
            limits.set(Stage::Fetch, Limit::new(told, Duration::from_millis(wait.into())));
            prop_assert_eq!(Limits::from_text(&limits.to_text()), limits);
        }

        #[test]
        fn any_text_is_read(text in "\\PC{0,60}", lines in "(login|fetch| |[0-9-]{1,40}|\n){0,20}") {
            Limits::from_text(&text);
            Limits::from_text(&format!("{HEADER}\n{lines}"));
        }
    }
}
