//! The binary: runs the pipeline and, if that did not become COMMAND, ends as that says.

fn main() -> bws_exec::Exit {
    std::panic::set_hook(Box::new(|info| {
        bws_exec::report::panicked(info);
        std::process::exit(bws_exec::Exit::Failed.code().into());
    }));
    bws_exec::run()
}
