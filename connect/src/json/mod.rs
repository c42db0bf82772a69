//! Arrow values as JSON and back, by the declared types and without losing anything in silence.

mod check;
mod scan;
mod times;
mod types;
mod wire;
mod writable;

pub(crate) use check::{Mismatch, check, check_member, fits_decimal};
pub(crate) use scan::{Kind, elements, key_is, members, text_of};
pub(crate) use times::fits_time;
pub(crate) use types::{type_name, unsupported};
pub(crate) use wire::{Answer, Encoded, convert, encode, row_error};
