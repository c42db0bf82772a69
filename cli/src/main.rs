//! The binary `farcall`.

/// Chosen by measurement (CONTRIBUTING, "Speed"); a library leaves the choice to its program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Hands over to the library.
fn main() -> std::process::ExitCode {
    farcall_cli::run(std::env::args_os())
}
