//! What masking costs: the masker alone and the pump between two pipes, beside `cat` between the same pipes.
//!
//! `cargo bench --bench mask`. The modules are taken in by their paths, for the library does not show them.

// Their tests come along, without the harness that runs them.
#![allow(dead_code, unused_imports)]

#[path = "../src/supervise/mask/mod.rs"]
mod mask;
#[path = "../src/secret.rs"]
mod secret;

use std::io::{Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mask::{Masker, Patterns, pump::pump};
use secret::SecretValue;
use zeroize::Zeroizing;

const TOTAL: usize = 1 << 30;
const ROUNDS: usize = 5;

fn main() {
    println!("MB/s, median of {ROUNDS} rounds of {} MiB each", TOTAL >> 20);
    let text = log_lines();
    for (name, values) in [
        ("no value", values(0, 32)),
        ("10 values of 32 bytes", values(10, 32)),
        ("100 values of 32 bytes", values(100, 32)),
        ("100 URLs", urls(100)),
        ("1,000 values of 32 bytes", values(1000, 32)),
        ("100 values of 26,191 bytes", values(100, 26_191)),
    ] {
        let before = resident();
        let began = Instant::now();
        let patterns = Patterns::new(&values);
        let built = began.elapsed();
        let size = resident().saturating_sub(before) >> 10;
        let masker = median(|| masker(&patterns, &text));
        let [pumped, cat] = [median(|| pumped(&patterns, &text)), median(|| cat(&text))];
        println!(
            "{name:28} masker {masker:6.0}   pump {pumped:6.0}   cat {cat:6.0}   cat/pump {:.2}   built in {built:?}, {size} MiB",
            cat / pumped,
        );
    }
}

/// A deterministic source of letters and digits.
fn random(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(*state >> 32) as usize % 64]
}

fn values(count: usize, length: usize) -> Vec<SecretValue> {
    let mut state = 88_172_645_463_325_252;
    let mut value = || (0..length).map(|_| random(&mut state)).collect::<Vec<u8>>();
    (0..count).map(|_| SecretValue::new(Zeroizing::new(value()))).collect()
}

/// Values that begin as ordinary text does.
fn urls(count: usize) -> Vec<SecretValue> {
    let mut state = 1;
    let mut password = || (0..20).map(|_| char::from(random(&mut state))).collect::<String>();
    let url = |password: String| format!("https://app:{password}@db.example.org:5432/app").into_bytes();
    (0..count).map(|_| SecretValue::new(Zeroizing::new(url(password())))).collect()
}

/// Lines as a web server logs them, with a token of base64 in each.
fn log_lines() -> Vec<u8> {
    let mut state = 42;
    let mut text = Vec::new();
    while text.len() < 8 << 20 {
        let token: String = (0..24).map(|_| char::from(random(&mut state))).collect();
        let line = text.len();
        writeln!(
            text,
            "2026-11-24T00:34:17Z INFO request id={token} method=GET path=https://api.example.org/v1/items/{line} status=200"
        )
        .expect("memory");
    }
    text
}

fn median(round: impl Fn() -> Duration) -> f64 {
    let mut took: Vec<Duration> = (0..ROUNDS).map(|_| round()).collect();
    took.sort();
    TOTAL as f64 / 1e6 / took[ROUNDS / 2].as_secs_f64()
}

fn masker(patterns: &Patterns, text: &[u8]) -> Duration {
    let mut masker = Masker::new(patterns);
    let mut out = Vec::new();
    let began = Instant::now();
    for chunk in text.chunks(256 * 1024).cycle().take(TOTAL / (256 * 1024)) {
        masker.feed(chunk, &mut out);
        std::hint::black_box(&out);
        out.clear();
    }
    began.elapsed()
}

/// A writer, what stands between, and a reader, each on its own.
fn between(text: &[u8], middle: impl FnOnce(OwnedFd, OwnedFd)) -> Duration {
    let (input, mut writer) = pipe().expect("a pipe");
    let (mut reader, output) = pipe().expect("a pipe");
    let began = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            text.chunks(64 * 1024)
                .cycle()
                .take(TOTAL / (64 * 1024))
                .for_each(|chunk| writer.write_all(chunk).expect("it is read"));
        });
        scope.spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            while reader.read(&mut buffer).expect("a pipe can be read") > 0 {}
        });
        middle(input.into(), output.into());
    });
    began.elapsed()
}

fn pumped(patterns: &Patterns, text: &[u8]) -> Duration {
    let (end, _ender) = pipe().expect("a pipe");
    between(text, |input, output| pump(input, output.as_fd(), end.as_fd(), patterns).expect("it pumps"))
}

fn cat(text: &[u8]) -> Duration {
    between(text, |input, output| {
        let status = Command::new("cat").stdin(Stdio::from(input)).stdout(Stdio::from(output)).status();
        assert!(status.expect("cat is there").success());
    })
}

/// KiB of memory of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has a size");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}
