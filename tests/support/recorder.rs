//! A command that writes down which signals it gets.

use std::fs;
use std::path::PathBuf;

use super::eventually;

/// Says `ready`, then the number of each signal, a line each. perl, for a shell cannot trap them all.
const PROGRAM: &str = r#"
use Config; use IO::Handle;
open my $log, '>>', shift or die; $log->autoflush;
my ($also, @names) = (shift, split ' ', $Config{sig_name});
for my $number (1 .. $#names) {
    next if $names[$number] =~ /^(KILL|STOP|CHLD|CLD|NUM32|NUM33)$/;
    next if $number > 64;
    $SIG{$names[$number]} = sub { syswrite $log, "$number\n" };
}
fork if $also eq 'twice';
syswrite $log, "ready\n";
my $end = time + 90;
select undef, undef, undef, 1 while time < $end;
"#;

pub struct Recorder {
    directory: tempfile::TempDir,
    copies: &'static str,
}

impl Recorder {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), copies: "once" }
    }

    /// Two processes of one group that write into one log.
    pub fn twice() -> Self {
        Self { copies: "twice", ..Self::new() }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    pub fn command(&self) -> [String; 5] {
        let log = self.log().display().to_string();
        ["perl".into(), "-e".into(), PROGRAM.into(), log, self.copies.into()]
    }

    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    pub fn wait_for(&self, line: &str, times: usize) {
        eventually(&format!("{line} is written {times} times: {:?}", self.lines()), || {
            self.lines().iter().filter(|written| *written == line).count() >= times
        });
    }

    #[track_caller]
    pub fn ready(&self) {
        self.wait_for("ready", if self.copies == "twice" { 2 } else { 1 });
    }

    /// What it got since it was ready.
    pub fn signals(&self) -> Vec<i32> {
        self.lines().iter().filter_map(|line| line.parse().ok()).collect()
    }
}
