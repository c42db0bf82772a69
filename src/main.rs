//! The binary `farcall`.
fn main() {}
