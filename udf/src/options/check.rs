//! What a value of an option must be, beyond its type.

use std::time::Duration;

/// A value that may be nothing.
pub(super) trait Zero {
    fn is_zero(&self) -> bool;
}

macro_rules! zero {
    ($($ty:ty = $zero:expr),+) => {$(
        impl Zero for $ty {
            fn is_zero(&self) -> bool {
                *self == $zero
            }
        }
    )+};
}

zero!(usize = 0, u32 = 0, Duration = Duration::ZERO);

/// A limit that is lifted is not nothing.
impl<T: Zero> Zero for Option<T> {
    fn is_zero(&self) -> bool {
        self.as_ref().is_some_and(Zero::is_zero)
    }
}

/// Takes every value.
pub(super) fn any<T>(_: &T) -> Result<(), String> {
    Ok(())
}

pub(super) fn positive(value: &impl Zero) -> Result<(), String> {
    match value.is_zero() {
        true => Err("value 0 is not accepted, the least is 1".to_owned()),
        false => Ok(()),
    }
}

pub(super) fn lasting(value: &impl Zero) -> Result<(), String> {
    match value.is_zero() {
        true => Err("value '0s' is not accepted, it must be longer than 0".to_owned()),
        false => Ok(()),
    }
}

pub(super) fn from_one(value: &f64) -> Result<(), String> {
    number(*value, value.is_finite() && *value >= 1.0, "from 1")
}

pub(super) fn from_zero(value: &f64) -> Result<(), String> {
    number(*value, value.is_finite() && *value >= 0.0, "from 0")
}

pub(super) fn share(value: &f64) -> Result<(), String> {
    number(*value, (0.0..=1.0).contains(value), "from 0 to 1")
}

fn number(value: f64, is_accepted: bool, accepted: &str) -> Result<(), String> {
    match is_accepted {
        true => Ok(()),
        false => Err(format!("value {value} is not accepted, accepted are numbers {accepted}")),
    }
}
