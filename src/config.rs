//! The options under `SET farcall.*`.
