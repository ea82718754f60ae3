//! A real terminal emulator around a shell: what is tested is the screen, as somebody sees it.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Launch;

pub const COLUMNS: u16 = 80;
pub const ROWS: u16 = 24;

/// A server of its own with one window; it ends with the test, and what runs in it loses its terminal.
pub struct Tmux {
    directory: tempfile::TempDir,
    /// How many times a code was asked for: each answer is to be told from the ones before.
    asked: Mutex<u32>,
}

impl Tmux {
    /// An interactive shell, with the environment of this launch, in an empty directory.
    pub fn shell(launch: Launch) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let size = [COLUMNS.to_string(), ROWS.to_string()];
        let mut words = vec!["tmux", "-S", "socket", "-f", "/dev/null", "new-session", "-d"];
        words.extend(["-x", size[0].as_str(), "-y", size[1].as_str()]);
        words.extend(["bash", "--norc", "--noprofile", "-i"]);
        let mut server = launch.command(words).direct();
        let path = format!("{}:/usr/bin:/bin", directory.path().display());
        server.env("PATH", path).env("HOME", directory.path()).env("PS1", "OUTER> ");
        let started = server.current_dir(directory.path()).output().expect("tmux is there");
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        let tmux = Self { directory, asked: Mutex::new(0) };
        tmux.until("the shell's prompt", |screen| screen.lines().last() == Some("OUTER>"));
        tmux
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn ask(&self, words: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.args(["-S", "socket"]).args(words).current_dir(self.path());
        let outcome = tmux.output().expect("tmux is there");
        assert!(outcome.status.success(), "{words:?}: {}", String::from_utf8_lossy(&outcome.stderr));
        String::from_utf8_lossy(&outcome.stdout).into_owned()
    }

    /// These very characters.
    pub fn types(&self, text: &str) {
        self.ask(&["send-keys", "-l", "--", text]);
    }

    /// A key by its name: `C-c`, `Escape`.
    pub fn key(&self, name: &str) {
        self.ask(&["send-keys", name]);
    }

    pub fn line(&self, text: &str) {
        self.types(text);
        self.key("Enter");
    }

    /// Nothing of what was shown before is taken for what is to come.
    #[track_caller]
    pub fn clear(&self) {
        self.prompts("OUTER>");
        self.line("clear");
        self.until("an empty screen", |screen| screen == "OUTER>");
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.ask(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// The rows from the first one to the last one in which something stands.
    fn screen(&self) -> String {
        self.ask(&["capture-pane", "-p"]).trim_end().to_owned()
    }

    #[track_caller]
    pub fn until(&self, what: &str, mut holds: impl FnMut(&str) -> bool) {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return;
            }
            assert!(started.elapsed() < super::PATIENCE, "not shown: {what}\n{screen}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub fn shows(&self, text: &str) {
        self.until(text, |screen| screen.contains(text));
    }

    /// Row by row from 1, as terminals count.
    #[track_caller]
    pub fn row(&self, number: u16, expected: &str) {
        let what = format!("{expected:?} in row {number}");
        self.until(&what, |screen| screen.lines().nth(usize::from(number) - 1) == Some(expected));
    }

    /// The last row is the prompt, and nothing was typed there yet.
    #[track_caller]
    pub fn prompts(&self, prompt: &str) {
        self.until(prompt, |screen| screen.lines().last() == Some(prompt));
    }

    /// Whose process group is in the foreground.
    #[track_caller]
    pub fn runs(&self, program: &str) {
        let what = format!("{program} in the foreground");
        self.until(&what, |_| {
            self.ask(&["display-message", "-p", "#{pane_current_command}"]).trim() == program
        });
    }

    /// The outer shell has the terminal and works, and this was `$?`.
    #[track_caller]
    pub fn code(&self, expected: i32) {
        self.prompts("OUTER>");
        let turn = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked
        };
        self.line(&format!("echo \"code {turn}: $?.\""));
        self.until("the code", |screen| {
            screen.lines().any(|line| line.starts_with(&format!("code {turn}: ")))
        });
        self.shows(&format!("code {turn}: {expected}."));
        self.prompts("OUTER>");
    }

    /// How the terminal is set now, as a command of the shell finds it.
    pub fn settings(&self) -> String {
        self.line("stty -g >settings; touch settings.done");
        let done = self.path().join("settings.done");
        super::eventually("the settings", || done.exists());
        std::fs::remove_file(done).unwrap();
        self.prompts("OUTER>");
        std::fs::read_to_string(self.path().join("settings")).unwrap()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut tmux = Command::new("tmux");
        let _ = tmux.args(["-S", "socket", "kill-server"]).current_dir(self.path()).output();
    }
}
