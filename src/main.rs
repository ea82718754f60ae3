//! The binary: runs the pipeline and, if that did not become COMMAND, ends with its code.

fn main() -> std::process::ExitCode {
    std::panic::set_hook(Box::new(|info| {
        bws_exec::report::panicked(info);
        std::process::exit(bws_exec::Exit::Failed.code().into());
    }));
    std::process::ExitCode::from(bws_exec::run().code())
}
