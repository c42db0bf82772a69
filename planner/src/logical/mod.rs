//! The logical nodes that calls stand in.

mod async_calc;

pub use async_calc::{AsyncCalc, CallColumn, GENERATED_PREFIX};
