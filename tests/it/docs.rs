//! The documentation says what the code does.

mod tables;
