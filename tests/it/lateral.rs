//! Async table functions in FROM: their rows beside those of a plain join, and their calls.

mod equivalence;
mod forms;
mod mistakes;
mod options;
mod plans;
