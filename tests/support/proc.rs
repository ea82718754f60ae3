//! A process as `/proc` shows it, from outside, so that no probe changes what it looks at.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

/// A file of `/proc/PID`.
pub fn path(pid: i32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

/// Its content.
pub fn read(pid: i32, file: &str) -> io::Result<Vec<u8>> {
    fs::read(path(pid, file))
}

#[track_caller]
pub fn text(pid: i32, file: &str) -> String {
    let bytes = read(pid, file).unwrap_or_else(|error| panic!("/proc/{pid}/{file}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The state letter and the program's name, or `None` if there is no such process.
pub fn state(pid: i32) -> Option<(char, String)> {
    let stat = String::from_utf8_lossy(&read(pid, "stat").ok()?).into_owned();
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    Some((rest.trim_start().chars().next()?, name.to_owned()))
}

/// Processes started by this one.
pub fn children(pid: i32) -> Vec<i32> {
    let list = read(pid, &format!("task/{pid}/children")).unwrap_or_default();
    String::from_utf8_lossy(&list).split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Signals of a line of `/proc/PID/status` such as `SigIgn`.
#[track_caller]
pub fn signals(status: &str, line: &str) -> Vec<i32> {
    let mask = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(":\t"));
    let mask = u64::from_str_radix(mask.expect("the line is there"), 16).expect("a mask is hexadecimal");
    (1..=64).filter(|signal| mask & (1 << (signal - 1)) != 0).collect()
}

/// Open descriptors: what each refers to, and its flags.
pub fn descriptors(pid: i32) -> BTreeMap<i32, String> {
    let list = fs::read_dir(path(pid, "fd")).expect("the descriptors of a process of ours can be listed");
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    let describe = |fd: i32| {
        let target = fs::read_link(path(pid, &format!("fd/{fd}"))).expect("an open descriptor");
        let info = text(pid, &format!("fdinfo/{fd}"));
        let flags = info.lines().find(|line| line.starts_with("flags:")).unwrap_or_default();
        (fd, format!("{} {flags}", target.display()))
    };
    list.filter_map(number).map(describe).collect()
}

/// Everything that a launcher could have changed, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings(BTreeMap<String, String>);

/// What `execve` and its caller decide; the other lines of `/proc/PID/status` are about memory and
/// history.
const STATUS: [&str; 23] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "NSpgid",
    "NSsid",
    "PPid",
    "Threads",
    "SigPnd",
    "ShdPnd",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Cpus_allowed_list",
    "Mems_allowed_list",
    "Speculation_Store_Bypass",
];
/// Fields of `/proc/PID/stat` by their number in proc(5).
const STAT: [(usize, &str); 7] = [
    (5, "process group"),
    (6, "session"),
    (7, "terminal"),
    (18, "priority"),
    (19, "nice"),
    (40, "realtime priority"),
    (41, "scheduling policy"),
];
const LINKS: [&str; 9] = ["cwd", "root", "exe", "ns/mnt", "ns/pid", "ns/user", "ns/net", "ns/ipc", "ns/uts"];

impl Surroundings {
    /// The process's own number, where it stands for itself, becomes `self`.
    #[track_caller]
    pub fn of(pid: i32) -> Self {
        let own = |value: &str| if value == pid.to_string() { "self".into() } else { value.to_owned() };
        let mut facts = BTreeMap::new();
        for line in text(pid, "status").lines() {
            let Some((name, value)) = line.split_once(":\t") else { continue };
            if STATUS.contains(&name) {
                facts.insert(name.to_owned(), own(value));
            }
        }
        let stat = text(pid, "stat");
        let fields: Vec<&str> =
            stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        for (number, name) in STAT {
            facts.insert(name.to_owned(), own(fields[number - 3]));
        }
        for line in text(pid, "limits").lines().skip(1) {
            facts.insert(line[..26].trim().to_owned(), line[26..].trim().to_owned());
        }
        for file in ["oom_score_adj", "coredump_filter", "cgroup"] {
            facts.insert(file.to_owned(), text(pid, file).trim().to_owned());
        }
        for link in LINKS {
            let target = fs::read_link(path(pid, link)).expect("a link of a process of ours can be read");
            facts.insert(link.to_owned(), target.display().to_string());
        }
        facts.extend(descriptors(pid).into_iter().map(|(fd, target)| (format!("descriptor {fd}"), target)));
        Self(facts)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// What is not the same in both, with what it is here and there.
    pub fn differences(&self, other: &Self) -> BTreeMap<String, (Option<String>, Option<String>)> {
        let names = self.0.keys().chain(other.0.keys());
        let both = names.map(|name| (name.clone(), (self.0.get(name).cloned(), other.0.get(name).cloned())));
        both.filter(|(_, (here, there))| here != there).collect()
    }
}
