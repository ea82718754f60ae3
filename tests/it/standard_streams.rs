//! Standard input, output and error are the command's: open or closed, file or terminal.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;

use crate::support::proc::{self, Surroundings};
use crate::support::{Running, Scenario, terminal};

const SLEEP: [&str; 2] = ["sleep", "1000"];

fn scenario() -> Scenario {
    Scenario::new().secret("KEY", "value")
}

#[test]
fn closed_standard_descriptors_stay_closed() {
    let scenario = scenario();
    for closed in 1..8 {
        let closing = (0..3).filter(|fd| closed & (1 << fd) != 0).fold(String::new(), |text, fd| {
            text + &format!("exec {fd}{}&-; ", if fd == 0 { '<' } else { '>' })
        });
        let shell = format!("{closing}exec \"$@\"");
        for options in [&[][..], &["--status-fd", "9"]] {
            let launch = || {
                let status = tempfile::tempfile().unwrap();
                scenario.launch().options(options).descriptor(9, status).under(["sh", "-c", &shell, "sh"])
            };
            let running = launch().command(SLEEP).start().asleep_in("sleep");
            let open: Vec<_> = proc::descriptors(running.pid()).into_keys().collect();
            let expected = (0..3).filter(|fd| closed & (1 << fd) == 0).chain(options.is_empty().then_some(9));
            assert_eq!(open, expected.collect::<Vec<_>>(), "{closing}");
        }
    }
}

#[test]
fn standard_input_is_left_unread() {
    let scenario = scenario();
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let from_pipe = scenario.launch().stdin(&bytes).command(["cat"]).run();
    from_pipe.succeeded();
    assert!(from_pipe.stdout == bytes);

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"read: left").unwrap();
    file.seek(SeekFrom::Start(6)).unwrap();
    let from_file = scenario.launch().descriptor(0, file.try_clone().unwrap()).command(["cat"]).run();
    from_file.succeeded();
    assert_eq!(from_file.text(), "left");
}

#[test]
fn the_terminal_stays_the_commands() {
    let (mut master, slave) = terminal::pair();
    let mode = |terminal: &File| {
        // SAFETY: an all-zero termios is one, and the descriptor is open.
        unsafe {
            let mut mode: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(terminal.as_raw_fd(), &mut mode), 0);
            (mode.c_iflag, mode.c_oflag, mode.c_cflag, mode.c_lflag, mode.c_cc)
        }
    };
    let before = mode(&slave);
    let scenario = scenario();
    let mut process = scenario.launch().command(SLEEP).launcher();
    for number in 0..3 {
        let copy = slave.try_clone().unwrap();
        match number {
            0 => process.stdin(copy),
            1 => process.stdout(copy),
            _ => process.stderr(copy),
        };
    }
    // SAFETY: system calls only.
    unsafe {
        process.pre_exec(|| {
            (libc::setsid() != -1 && libc::ioctl(0, libc::TIOCSCTTY, 0) != -1)
                .then_some(())
                .ok_or_else(std::io::Error::last_os_error)
        });
    }
    let running = Running::new(process, None).asleep_in("sleep");
    let surroundings = Surroundings::of(running.pid());
    assert_eq!(surroundings.get("terminal"), Some(&*slave.metadata().unwrap().rdev().to_string()));
    assert_eq!(surroundings.get("session"), Some("self"));
    assert!(mode(&slave) == before, "its settings are as before");
    // Typed by a user: Ctrl-C reaches the command, which is in the foreground.
    master.write_all(b"\x03").unwrap();
    let outcome = running.finish();
    assert_eq!(outcome.signal(), Some(libc::SIGINT));
    let mut shown = [0; 64];
    let length = master.read(&mut shown).unwrap();
    assert_eq!(String::from_utf8_lossy(&shown[..length]), "^C", "nothing else was written to it");
}
