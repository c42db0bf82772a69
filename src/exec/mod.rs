//! Operators: how planned calls run.
