//! The inherited environment, as bytes: nothing is assumed about its encoding.

use std::borrow::Cow;
use std::collections::HashSet;

use super::pattern::{self, Pattern};
use crate::env_vars;

/// One `NAME=value` as `execve` takes it.
pub type Entry = Cow<'static, [u8]>;

/// Which inherited variables go on to the command.
#[derive(Clone, Debug, Default)]
pub struct Inherit {
    /// `--no-inherit-env`: only PATH and what `keep` names.
    pub clean: bool,
    pub keep: Vec<Pattern>,
    pub unset: Vec<Pattern>,
}

/// The name of an entry, unless it is malformed.
pub fn name(entry: &[u8]) -> Option<&[u8]> {
    match entry.iter().position(|&byte| byte == b'=') {
        None | Some(0) => None,
        Some(at) => Some(&entry[..at]),
    }
}

impl Inherit {
    /// Those that go on, each name once. Of duplicates the first is kept: `getenv` finds that one,
    /// while shells take the last, so two readers of one environment would otherwise disagree.
    pub fn apply<'a>(&self, entries: &'a [Entry], notices: &mut Vec<String>) -> Vec<(&'a [u8], &'a Entry)> {
        let mut seen = HashSet::new();
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            let Some(name) = name(entry) else {
                notices.push("an inherited entry without a name was dropped".into());
                continue;
            };
            if env_vars::is_ours(name) || !self.wants(name) {
                continue;
            }
            if seen.insert(name) {
                kept.push((name, entry));
            } else {
                notices.push(format!(
                    "inherited '{}' was there twice; the first is kept",
                    String::from_utf8_lossy(name)
                ));
            }
        }
        kept
    }

    fn wants(&self, name: &[u8]) -> bool {
        let inherited = !self.clean || name == env_vars::PATH.as_bytes() || pattern::any(&self.keep, name);
        inherited && !pattern::any(&self.unset, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(inherit: &Inherit, entries: &[&'static [u8]]) -> Vec<String> {
        let entries: Vec<Entry> = entries.iter().map(|&entry| Cow::Borrowed(entry)).collect();
        let kept = inherit.apply(&entries, &mut Vec::new());
        kept.iter().map(|(_, entry)| String::from_utf8_lossy(entry).into_owned()).collect()
    }

    #[test]
    fn token_variables_never_go_on() {
        let inherit = Inherit { clean: true, keep: vec![Pattern::new("*")], unset: Vec::new() };
        let entries: [&[u8]; 4] =
            [b"BWS_ACCESS_TOKEN=x", b"BWS_ACCESS_TOKEN_FILE=x", b"BWS_EXEC_ANY=x", b"A=1"];
        assert_eq!(names(&inherit, &entries), ["A=1"]);
    }

    #[test]
    fn malformed_and_duplicate_entries() {
        let entries: [&[u8]; 6] = [b"A=1", b"none", b"=x", b"A=2", b"\xff=\xfe", b"BASH_FUNC_f%%=() { :; }"];
        assert_eq!(
            names(&Inherit::default(), &entries),
            ["A=1", "\u{fffd}=\u{fffd}", "BASH_FUNC_f%%=() { :; }"]
        );
    }

    #[test]
    fn clean_keep_and_unset() {
        let entries: [&[u8]; 4] = [b"PATH=/bin", b"LC_ALL=C", b"LC_TIME=C", b"X=1"];
        let clean = Inherit { clean: true, ..Inherit::default() };
        assert_eq!(names(&clean, &entries), ["PATH=/bin"]);
        let keep = Inherit { keep: vec![Pattern::new("LC_*")], ..clean };
        assert_eq!(names(&keep, &entries), ["PATH=/bin", "LC_ALL=C", "LC_TIME=C"]);
        let unset = Inherit { unset: vec![Pattern::new("LC_A*"), Pattern::new("PATH")], ..keep };
        assert_eq!(names(&unset, &entries), ["LC_TIME=C"]);
    }
}
