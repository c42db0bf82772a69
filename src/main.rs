//! The binary `farcall`.

/// Hands over to the library.
fn main() -> std::process::ExitCode {
    farcall::cli::main()
}
