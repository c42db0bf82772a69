//! Shapes that are not right yet, each with its reason; a test fails when one of them works.

use super::Known;

/// The shapes that differ from what the oracles say.
pub const KNOWN: &[(&str, Known)] = &[];
