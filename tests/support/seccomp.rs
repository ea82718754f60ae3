//! Kernels that refuse a system call, as by a seccomp profile that does not know it.

use std::os::unix::process::CommandExt;

use super::{Launch, Outcome, Running};

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// The number of the system call, and where its arguments are (`struct seccomp_data`).
const NUMBER: u32 = 0;
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

/// Whatever is at `offset` must be `value`; else all is allowed, `further` statements on.
fn only_if(offset: u32, value: u32, further: u8) -> [libc::sock_filter; 2] {
    let compare = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value);
    [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset),
        libc::sock_filter { jf: further, ..compare },
    ]
}

fn run(launch: Launch, conditions: Vec<libc::sock_filter>, errno: i32) -> Outcome {
    let mut filter = conditions;
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32));
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    let mut process = launch.launcher();
    // SAFETY: prctl is async-signal-safe, and the program lives in the closure.
    unsafe {
        process.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
            let filtered = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0;
            if filtered { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    Running::new(process, None).finish()
}

/// Runs with a system call that is not permitted.
pub fn without_system_call(launch: Launch, number: libc::c_long) -> Outcome {
    with_answer(launch, number, libc::EPERM)
}

/// The kernel gives this error for this system call; 0 is a success that did nothing.
pub fn with_answer(launch: Launch, number: libc::c_long, errno: i32) -> Outcome {
    run(launch, only_if(NUMBER, number as u32, 1).to_vec(), errno)
}

/// Runs with a question about sockets that fails in this way.
pub fn without_socket_option(launch: Launch, option: i32, errno: i32) -> Outcome {
    let call = only_if(NUMBER, libc::SYS_getsockopt as u32, 3);
    run(launch, [call, only_if(argument(2), option as u32, 1)].concat(), errno)
}
