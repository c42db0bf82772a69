//! The binary `farcall`.

/// Hands over to the library.
fn main() -> std::process::ExitCode {
    farcall_cli::run(std::env::args_os())
}
